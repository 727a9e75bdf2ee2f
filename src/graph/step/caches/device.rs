//! Caches in a device's memory: never changed by us, but made anew there, or put into the place of others.

use ort::value::DynValue;

use super::CacheShape;
use crate::error::Result;
use crate::graph::rearranger::{Rearrangement, Rearranger};
use crate::graph::step::moves::{self, Move};
use crate::graph::tensor::{self, FloatType};
use crate::runtime::{DeviceMemory, SessionOptions};

/// What makes caches of others in a device's memory. What takes `runtime` adds the time within the runtime to it.
pub(in super::super) struct DeviceCaches {
    tensors: usize,
    float: FloatType,
    memory: DeviceMemory,
    gather: Rearranger,
    pad: Rearranger,
    scatter: Rearranger,
}

impl DeviceCaches {
    /// For caches of so many tensors, in this memory.
    pub(in super::super) fn new(
        tensors: usize,
        float: FloatType,
        memory: DeviceMemory,
        options: &SessionOptions,
    ) -> Result<Self> {
        let rearranger = |kind| Rearranger::new(kind, tensors, float.element(), memory, options);
        Ok(Self {
            tensors,
            float,
            memory,
            gather: rearranger(Rearrangement::Gather)?,
            pad: rearranger(Rearrangement::Pad)?,
            scatter: rearranger(Rearrangement::Scatter)?,
        })
    }

    /// Where they are.
    pub(in super::super) fn memory(&self) -> DeviceMemory {
        self.memory
    }

    /// Caches from elsewhere, in this memory.
    pub(in super::super) fn adopted(&self, tensors: &[DynValue], runtime: &mut f64) -> Result<Vec<DynValue>> {
        self.padded(tensors, 0, 0, runtime)
    }

    /// Zeros.
    pub(in super::super) fn zeros(&self, shape: CacheShape, runtime: &mut f64) -> Result<Vec<DynValue>> {
        let dims = [1, shape.heads, 1, shape.head_size];
        let tensors = (0..self.tensors).map(|_| {
            let values = vec![0.0; shape.heads * shape.head_size];
            tensor::floats(&dims, values, self.float)
        });
        let tensors: Vec<DynValue> = tensors.collect::<Result<_>>()?;
        let (rows, length) = (shape.rows.saturating_sub(1), shape.length.saturating_sub(1));
        self.padded(&tensors, rows, length, runtime)
    }

    /// Caches whose row `i` is row `rows[i]` of these.
    pub(in super::super) fn gathered(
        &self,
        tensors: &[DynValue],
        rows: &[usize],
        runtime: &mut f64,
    ) -> Result<Vec<DynValue>> {
        self.gather.run(tensors, &tensor::indices(rows)?, &[], runtime)
    }

    /// Caches after moves of rows.
    pub(super) fn moved(
        &self,
        tensors: &[DynValue],
        shape: CacheShape,
        moves: &[Move],
        runtime: &mut f64,
    ) -> Result<Vec<DynValue>> {
        self.gathered(tensors, &moves::sources(moves, shape.rows), runtime)
    }

    /// Caches of `length` tokens, the last of them zeros; `None` if they have that length.
    pub(super) fn lengthened(
        &self,
        tensors: &[DynValue],
        shape: CacheShape,
        length: usize,
        runtime: &mut f64,
    ) -> Result<Option<Vec<DynValue>>> {
        match length.saturating_sub(shape.length) {
            0 => Ok(None),
            more => self.padded(tensors, 0, more, runtime).map(Some),
        }
    }

    /// Caches with another row in the place of one; `row_tensors` have that row only.
    pub(super) fn with_row(
        &self,
        tensors: &[DynValue],
        row: usize,
        row_tensors: &[DynValue],
        runtime: &mut f64,
    ) -> Result<Vec<DynValue>> {
        let list = tensor::integers(&[1, 1], vec![row as i64])?;
        self.scatter.run(tensors, &list, row_tensors, runtime)
    }

    /// Caches with so many more rows and tokens, of zeros.
    fn padded(
        &self,
        tensors: &[DynValue],
        rows: usize,
        tokens: usize,
        runtime: &mut f64,
    ) -> Result<Vec<DynValue>> {
        self.pad.run(tensors, &padding(rows, tokens)?, &[], runtime)
    }
}

/// So many more rows and tokens.
fn padding(rows: usize, tokens: usize) -> Result<DynValue> {
    tensor::indices(&[0, 0, 0, 0, rows, 0, tokens, 0])
}
