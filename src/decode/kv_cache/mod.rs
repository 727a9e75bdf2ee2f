//! The KV cache of a fused decoder: keys and values of all layers, in tensors of fixed capacity.

mod device;
mod host;

use std::ops::Range;

use ort::memory::Allocator;
use ort::value::{DynValue, PrimitiveTensorElementType, Tensor};

pub(super) use self::device::DeviceTensors;
use super::slots::RowCopy;
use crate::error::{Error, Result};
use crate::metrics::Stopwatch;

/// The dimensions and the memory of a decoder's KV cache tensors.
pub(super) struct CacheFormat {
    /// The number of tensors: keys and values of all layers.
    pub(super) tensors: usize,
    pub(super) heads: usize,
    pub(super) head_size: usize,
    /// Makes tensors in the device's memory; `None` for float32 in the CPU's memory, which is changed in place.
    pub(super) device: Option<DeviceTensors>,
}

impl CacheFormat {
    pub(super) fn shape(&self, rows: usize, capacity: usize) -> CacheShape {
        CacheShape {
            rows,
            heads: self.heads,
            capacity,
            head_size: self.head_size,
        }
    }
}

/// The shape of a cache's tensors: `[rows, heads, capacity, head size]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CacheShape {
    pub(super) rows: usize,
    heads: usize,
    /// In tokens.
    pub(super) capacity: usize,
    head_size: usize,
}

impl CacheShape {
    pub(super) fn dims(self) -> [usize; 4] {
        [self.rows, self.heads, self.capacity, self.head_size]
    }

    /// Returns the ranges of a tensor's values that hold tokens of a row, one for each head.
    fn spans(self, row: usize, tokens: &Range<usize>) -> impl Iterator<Item = Range<usize>> + use<> {
        let Range { start, end } = *tokens;
        (0..self.heads).map(move |head| {
            let first = (row * self.heads + head) * self.capacity;
            (first + start) * self.head_size..(first + end) * self.head_size
        })
    }
}

/// A KV cache: a tensor for each layer's keys and one for its values.
pub(super) struct KvCache<'m> {
    format: &'m CacheFormat,
    tensors: Vec<DynValue>,
    shape: CacheShape,
    /// The temporary buffer of reordering, kept from one step to the next.
    aside: Vec<f32>,
    clock: Stopwatch,
}

impl<'m> KvCache<'m> {
    /// Returns a cache without rows or tensors; `clock` counts the time within ONNX Runtime.
    pub(super) fn empty(format: &'m CacheFormat, clock: &Stopwatch) -> Self {
        Self::of(format, Vec::new(), format.shape(0, 0), clock)
    }

    /// Returns a cache of tensors that a graph returned.
    pub(super) fn of(
        format: &'m CacheFormat,
        tensors: Vec<DynValue>,
        shape: CacheShape,
        clock: &Stopwatch,
    ) -> Self {
        Self {
            format,
            tensors,
            shape,
            aside: Vec::new(),
            clock: clock.clone(),
        }
    }

    /// Returns a cache of zeros.
    pub(super) fn zeros(
        format: &'m CacheFormat,
        rows: usize,
        capacity: usize,
        clock: &Stopwatch,
    ) -> Result<Self> {
        let shape = format.shape(rows, capacity);
        let tensors = match &format.device {
            None => (0..format.tensors)
                .map(|_| Ok(zeros::<f32>(&shape.dims())?.into_dyn()))
                .collect::<Result<_>>()?,
            Some(device) => device.zeros(shape, clock)?,
        };
        Ok(Self::of(format, tensors, shape, clock))
    }

    pub(super) fn shape(&self) -> CacheShape {
        self.shape
    }

    pub(super) fn tensors(&self) -> &[DynValue] {
        &self.tensors
    }

    pub(super) fn tensors_mut(&mut self) -> &mut [DynValue] {
        &mut self.tensors
    }

    /// Takes the tensors out and leaves an empty cache.
    pub(super) fn take(&mut self) -> Self {
        let empty = Self::empty(self.format, &self.clock);
        std::mem::replace(self, empty)
    }

    /// Copies rows over each other, all at once. Returns `true` if tensors were reallocated and must be rebound.
    pub(super) fn reorder(&mut self, copies: &[RowCopy]) -> Result<bool> {
        match &self.format.device {
            _ if copies.is_empty() => Ok(false),
            None => {
                host::reorder(&mut self.tensors, self.shape, copies, &mut self.aside)?;
                Ok(false)
            }
            Some(device) => {
                let mut sources: Vec<usize> = (0..self.shape.rows).collect();
                set_sources(&mut sources, copies);
                self.tensors = device.gather(&self.tensors, &sources, &self.clock)?;
                Ok(true)
            }
        }
    }

    /// Copies the first `length` tokens of another cache's first row into `row`. The other cache's capacity is at
    /// most this one's. On a device, tensors are reallocated.
    pub(super) fn insert(&mut self, row: usize, other: &Self, length: usize) -> Result<()> {
        match &self.format.device {
            None => {
                let copy = RowCopy {
                    from: 0,
                    to: row,
                    tokens: 0..length,
                };
                let target = (&mut *self.tensors, self.shape);
                host::copy_rows((&other.tensors, other.shape), target, &[copy])
            }
            Some(device) => {
                let missing = self.shape.capacity.saturating_sub(other.shape.capacity);
                let grown = device.grow(&other.tensors, missing, &self.clock)?;
                let update = grown.as_deref().unwrap_or(&other.tensors);
                self.tensors = device.replace_row(&self.tensors, row, update, &self.clock)?;
                Ok(())
            }
        }
    }

    /// Changes the number of rows, raises the capacity, and applies `copies`. All other rows hold no tokens.
    pub(super) fn resize(&mut self, rows: usize, capacity: usize, copies: &[RowCopy]) -> Result<()> {
        let shape = self.format.shape(rows, capacity);
        if shape == self.shape && copies.iter().all(|copy| copy.from == copy.to) {
            return Ok(());
        }
        let resized = match &self.format.device {
            Some(device) if !self.tensors.is_empty() => {
                // Rows without tokens may hold any finite values.
                let mut sources = vec![0; rows];
                set_sources(&mut sources, copies);
                let gathered = device.gather(&self.tensors, &sources, &self.clock)?;
                let missing = capacity.saturating_sub(self.shape.capacity);
                let grown = device.grow(&gathered, missing, &self.clock)?;
                Self::of(self.format, grown.unwrap_or(gathered), shape, &self.clock)
            }
            _ => {
                let mut resized = Self::zeros(self.format, rows, capacity, &self.clock)?;
                let target = (&mut *resized.tensors, shape);
                host::copy_rows((&self.tensors, self.shape), target, copies)?;
                resized
            }
        };
        *self = resized;
        Ok(())
    }
}

fn set_sources(sources: &mut [usize], copies: &[RowCopy]) {
    for copy in copies {
        if let Some(source) = sources.get_mut(copy.to) {
            *source = copy.from;
        }
    }
}

/// Returns a tensor of zeros in the CPU's memory that a binding can keep.
pub(super) fn zeros<T>(shape: &[usize]) -> Result<Tensor<T>>
where
    T: PrimitiveTensorElementType + std::fmt::Debug + Default + Clone,
{
    let mut tensor =
        Tensor::<T>::new(&Allocator::default(), shape).map_err(Error::ort("making the decoder's tensors"))?;
    tensor.extract_tensor_mut().1.fill(T::default());
    Ok(tensor)
}
