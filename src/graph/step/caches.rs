//! Keys and values of all layers, in tensors of fixed room.

use std::ops::Range;

use ort::memory::Allocator;
use ort::value::{PrimitiveTensorElementType, Tensor};

use super::moves::{Copy, Move, Tokens};
use crate::error::{Error, Result};

/// A float32 tensor for each layer's keys and one for its values: `[rows, heads, length, head size]` each.
pub(super) struct Caches {
    pub(super) tensors: Vec<Tensor<f32>>,
    shape: CacheShape,
    /// One tensor's part of a row, while rows change places.
    aside: Vec<f32>,
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
    /// Where tokens of a row are in a tensor, for each head. They are inside if the row and the tokens are.
    fn spans(self, row: usize, tokens: Tokens) -> impl Iterator<Item = Range<usize>> {
        (0..self.heads).map(move |head| {
            let first = (row * self.heads + head) * self.length;
            (first + tokens.start) * self.head_size..(first + tokens.end) * self.head_size
        })
    }
}

/// A tensor of zeros, in memory that a binding can keep.
pub(super) fn zeros<T>(shape: &[usize]) -> Result<Tensor<T>>
where
    T: PrimitiveTensorElementType + std::fmt::Debug + Default + Clone,
{
    let mut tensor =
        Tensor::<T>::new(&Allocator::default(), shape).map_err(Error::ort("making the decoder's tensors"))?;
    tensor.extract_tensor_mut().1.fill(T::default());
    Ok(tensor)
}

impl Caches {
    /// Caches of zeros.
    pub(super) fn zeros(tensors: usize, shape: CacheShape) -> Result<Self> {
        let dims = [shape.rows, shape.heads, shape.length, shape.head_size];
        Ok(Self {
            tensors: (0..tensors).map(|_| zeros(&dims)).collect::<Result<_>>()?,
            shape,
            aside: Vec::new(),
        })
    }

    /// The caches that a graph gave.
    pub(super) fn given(tensors: Vec<Tensor<f32>>, shape: CacheShape) -> Self {
        Self {
            tensors,
            shape,
            aside: Vec::new(),
        }
    }

    /// These caches; what is left has no tensors.
    pub(super) fn take(&mut self) -> Self {
        Self::given(std::mem::take(&mut self.tensors), self.shape)
    }

    pub(super) fn shape(&self) -> CacheShape {
        self.shape
    }

    /// Carries out moves of rows.
    pub(super) fn carry_out(&mut self, moves: &[Move]) {
        let (shape, aside) = (self.shape, &mut self.aside);
        for tensor in &mut self.tensors {
            let (_, data) = tensor.extract_tensor_mut();
            for step in moves {
                match *step {
                    Move::Copy(Copy { from, to, tokens }) => {
                        for (source, target) in shape.spans(from, tokens).zip(shape.spans(to, tokens)) {
                            data.copy_within(source, target.start);
                        }
                    }
                    Move::KeepAside { from, tokens } => {
                        aside.clear();
                        for source in shape.spans(from, tokens) {
                            aside.extend_from_slice(&data[source]);
                        }
                    }
                    Move::PutBack { to, tokens } => {
                        let mut kept = aside.as_slice();
                        for target in shape.spans(to, tokens) {
                            let (part, rest) = kept.split_at(target.len());
                            data[target].copy_from_slice(part);
                            kept = rest;
                        }
                    }
                }
            }
        }
    }

    /// Copies the first `length` tokens of row `from` of other caches, of the same heads, to row `to`.
    pub(super) fn copy_row(&mut self, other: &Self, from: usize, to: usize, length: usize) {
        let tokens = Tokens {
            start: 0,
            end: length,
        };
        let (source_shape, target_shape) = (other.shape, self.shape);
        for (source, target) in other.tensors.iter().zip(&mut self.tensors) {
            let (source, target) = (source.extract_tensor().1, target.extract_tensor_mut().1);
            let spans = source_shape
                .spans(from, tokens)
                .zip(target_shape.spans(to, tokens));
            for (source_span, target_span) in spans {
                target[target_span].copy_from_slice(&source[source_span]);
            }
        }
    }
}
