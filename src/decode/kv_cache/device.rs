//! KV cache tensors in a device's memory. ONNX Runtime copies what is bound when it is bound and sees no later change, so
//! tensors are never changed: helper graphs make new ones there.

use ort::value::DynValue;

use super::CacheShape;
use crate::error::Result;
use crate::metrics::Stopwatch;
use crate::runtime::{DeviceMemory, SessionOptions};
use crate::session::{FloatType, HelperGraph, tensor};

/// Makes cache tensors in a device's memory.
pub(in crate::decode) struct DeviceTensors {
    tensors: usize,
    float: FloatType,
    gather: HelperGraph,
    pad: HelperGraph,
    scatter: HelperGraph,
}

impl DeviceTensors {
    /// Loads the helper graphs for caches of `tensors` tensors.
    pub(in crate::decode) fn new(
        tensors: usize,
        float: FloatType,
        memory: DeviceMemory,
        options: &SessionOptions,
    ) -> Result<Self> {
        let element = float.element();
        Ok(Self {
            tensors,
            float,
            gather: HelperGraph::gather(tensors, element, memory, options)?,
            pad: HelperGraph::pad(tensors, element, memory, options)?,
            scatter: HelperGraph::scatter(tensors, element, memory, options)?,
        })
    }

    pub(in crate::decode) fn memory(&self) -> DeviceMemory {
        self.gather.memory()
    }

    /// Copies tensors to the device's memory.
    pub(in crate::decode) fn upload(&self, tensors: &[DynValue], clock: &Stopwatch) -> Result<Vec<DynValue>> {
        self.padded(tensors, 0, 0, clock)
    }

    /// Returns tensors of zeros.
    pub(super) fn zeros(&self, shape: CacheShape, clock: &Stopwatch) -> Result<Vec<DynValue>> {
        let dims = [1, shape.heads, 1, shape.head_size];
        let tensors = (0..self.tensors)
            .map(|_| tensor::floats(&dims, vec![0.0; shape.heads * shape.head_size], self.float));
        let tensors: Vec<DynValue> = tensors.collect::<Result<_>>()?;
        let (rows, tokens) = (shape.rows.saturating_sub(1), shape.capacity.saturating_sub(1));
        self.padded(&tensors, rows, tokens, clock)
    }

    /// Returns tensors whose row `i` is a copy of row `rows[i]`.
    pub(super) fn gather(
        &self,
        tensors: &[DynValue],
        rows: &[usize],
        clock: &Stopwatch,
    ) -> Result<Vec<DynValue>> {
        let indices = tensor::indices(rows)?;
        self.gather.run([&indices].into_iter().chain(tensors), clock)
    }

    /// Returns tensors with capacity for `tokens` more tokens; `None` if that is 0.
    pub(super) fn grow(
        &self,
        tensors: &[DynValue],
        tokens: usize,
        clock: &Stopwatch,
    ) -> Result<Option<Vec<DynValue>>> {
        if tokens == 0 {
            return Ok(None);
        }
        self.padded(tensors, 0, tokens, clock).map(Some)
    }

    /// Returns tensors whose row `row` is a copy of the only row of `update`.
    pub(super) fn replace_row(
        &self,
        tensors: &[DynValue],
        row: usize,
        update: &[DynValue],
        clock: &Stopwatch,
    ) -> Result<Vec<DynValue>> {
        let indices = tensor::integers(&[1, 1], vec![row as i64])?;
        self.scatter
            .run([&indices].into_iter().chain(tensors).chain(update), clock)
    }

    /// Returns tensors with `rows` more rows and capacity for `tokens` more tokens, of zeros.
    fn padded(
        &self,
        tensors: &[DynValue],
        rows: usize,
        tokens: usize,
        clock: &Stopwatch,
    ) -> Result<Vec<DynValue>> {
        let pads = tensor::indices(&[0, 0, 0, 0, rows, 0, tokens, 0])?;
        self.pad.run([&pads].into_iter().chain(tensors), clock)
    }
}
