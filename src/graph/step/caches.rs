//! Keys and values of all layers, in tensors of fixed room.

mod device;
mod processor;

use std::ops::Range;

use ort::memory::Allocator;
use ort::value::{DynValue, PrimitiveTensorElementType, Tensor};

pub(super) use self::device::DeviceCaches;
use super::moves::{Move, Tokens};
use crate::error::{Error, Result};

/// A tensor for each layer's keys and one for its values: `[rows, heads, length, head size]` each.
pub(super) struct Caches<'m> {
    tensors: Vec<DynValue>,
    shape: CacheShape,
    home: Home<'m>,
}

/// Where tensors are.
enum Home<'m> {
    /// In the processor's memory, where they are changed in place; they are float32.
    Processor {
        /// One tensor's part of a row, while rows change places.
        aside: Vec<f32>,
    },
    /// In a device's memory, where graphs make others of them.
    Device(&'m DeviceCaches),
}

/// The shape of a cache's tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CacheShape {
    pub(super) rows: usize,
    pub(super) heads: usize,
    pub(super) length: usize,
    pub(super) head_size: usize,
}

impl CacheShape {
    pub(super) fn dims(self) -> [usize; 4] {
        [self.rows, self.heads, self.length, self.head_size]
    }

    /// Where tokens of a row are in a tensor, for each head. They are inside if the row and the tokens are.
    fn spans(self, row: usize, tokens: Tokens) -> impl Iterator<Item = Range<usize>> {
        (0..self.heads).map(move |head| {
            let first = (row * self.heads + head) * self.length;
            (first + tokens.start) * self.head_size..(first + tokens.end) * self.head_size
        })
    }
}

/// A row of caches that goes over into others: of its tokens, the first `length`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Passage {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) length: usize,
}

/// A tensor of zeros, in the processor's memory, that a binding can keep.
pub(super) fn zeros<T>(shape: &[usize]) -> Result<Tensor<T>>
where
    T: PrimitiveTensorElementType + std::fmt::Debug + Default + Clone,
{
    let mut tensor =
        Tensor::<T>::new(&Allocator::default(), shape).map_err(Error::ort("making the decoder's tensors"))?;
    tensor.extract_tensor_mut().1.fill(T::default());
    Ok(tensor)
}

/// What takes `runtime` adds the time within the runtime to it.
impl<'m> Caches<'m> {
    /// As many tensors of zeros; where `device` says, if it does.
    pub(super) fn zeros(
        device: Option<&'m DeviceCaches>,
        tensors: usize,
        shape: CacheShape,
        runtime: &mut f64,
    ) -> Result<Self> {
        let tensors = match device {
            Some(device) => device.zeros(shape, runtime)?,
            None => (0..tensors)
                .map(|_| Ok(zeros::<f32>(&shape.dims())?.into_dyn()))
                .collect::<Result<_>>()?,
        };
        Ok(Self::given(device, tensors, shape))
    }

    /// The tensors that a graph gave.
    pub(super) fn given(device: Option<&'m DeviceCaches>, tensors: Vec<DynValue>, shape: CacheShape) -> Self {
        let home = match device {
            Some(device) => Home::Device(device),
            None => Home::Processor { aside: Vec::new() },
        };
        Self { tensors, shape, home }
    }

    /// These caches; what is left has no tensors.
    pub(super) fn take(&mut self) -> Self {
        Self::given(self.device(), std::mem::take(&mut self.tensors), self.shape)
    }

    fn device(&self) -> Option<&'m DeviceCaches> {
        match self.home {
            Home::Processor { .. } => None,
            Home::Device(device) => Some(device),
        }
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

    /// Carries out moves of rows. Whether the tensors are others now, to be bound again.
    pub(super) fn carry_out(&mut self, moves: &[Move], runtime: &mut f64) -> Result<bool> {
        match &mut self.home {
            _ if moves.is_empty() => Ok(false),
            Home::Processor { aside } => {
                processor::carry_out(&mut self.tensors, self.shape, moves, aside)?;
                Ok(false)
            }
            Home::Device(device) => {
                self.tensors = device.moved(&self.tensors, self.shape, moves, runtime)?;
                Ok(true)
            }
        }
    }

    /// Puts the first row of other caches, of the same heads and in the same memory, and no longer than these, where
    /// `row` is: `length` tokens of it. The tensors may be others then, to be bound again.
    pub(super) fn replace_row(
        &mut self,
        row: usize,
        other: &Self,
        length: usize,
        runtime: &mut f64,
    ) -> Result<()> {
        match self.home {
            Home::Processor { .. } => {
                let passage = Passage {
                    from: 0,
                    to: row,
                    length,
                };
                processor::copy_rows(
                    (&other.tensors, other.shape),
                    (&mut self.tensors, self.shape),
                    &[passage],
                )
            }
            Home::Device(device) => {
                let row_tensors =
                    device.lengthened(&other.tensors, other.shape, self.shape.length, runtime)?;
                let row_tensors = row_tensors.as_deref().unwrap_or(&other.tensors);
                self.tensors = device.with_row(&self.tensors, row, row_tensors, runtime)?;
                Ok(())
            }
        }
    }

    /// Caches of another number of rows, and no shorter, into which these rows go over.
    pub(super) fn relocated(
        &self,
        rows: usize,
        length: usize,
        passages: &[Passage],
        runtime: &mut f64,
    ) -> Result<Self> {
        let shape = CacheShape {
            rows,
            length,
            ..self.shape
        };
        match self.home {
            Home::Processor { .. } => {
                let mut relocated = Self::zeros(None, self.tensors.len(), shape, runtime)?;
                let target = (&mut *relocated.tensors, shape);
                processor::copy_rows((&self.tensors, self.shape), target, passages)?;
                Ok(relocated)
            }
            Home::Device(device) => {
                // Rows that are not in use may hold anything finite.
                let mut sources = vec![0; rows];
                for passage in passages {
                    if let Some(source) = sources.get_mut(passage.to) {
                        *source = passage.from;
                    }
                }
                let gathered = device.gathered(&self.tensors, &sources, runtime)?;
                let gathered_shape = CacheShape { rows, ..self.shape };
                let lengthened = device.lengthened(&gathered, gathered_shape, length, runtime)?;
                let tensors = lengthened.unwrap_or(gathered);
                Ok(Self::given(Some(device), tensors, shape))
            }
        }
    }
}
