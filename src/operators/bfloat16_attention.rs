//! `Bfloat16Attention`: self-attention of each sequence's tokens in bfloat16.

use std::cell::RefCell;

use florence2_layout::operators::BFLOAT16_ATTENTION;
use ort::operator::{ComputeContext, Kernel, KernelContext};
use ort::value::TensorElementType::{self, Float32};

use super::bfloat16::{Head, Tokens};
use super::custom::CustomOperator;
use super::{parallel, query_key_value, tensors};

/// The batch size from which a piece of work is a whole sequence instead of one head: pieces enough for the threads of most
/// CPUs.
const PIECES: usize = 16;

/// | | | |
/// |---|---|---|
/// | inputs | `query`, `key`, `value` | `[batch, tokens, heads · size]` each |
/// | attributes | `heads` | |
/// | outputs | `attended` | `softmax(query · keyᵀ / √size) · value` of each head, shaped as `query` |
///
/// All are 32-bit floats. Factors are rounded to bfloat16: query, key, value, and the softmax's numerators.
pub(super) struct Bfloat16Attention {
    heads: usize,
}

impl CustomOperator for Bfloat16Attention {
    const NAME: &str = BFLOAT16_ATTENTION;
    const INPUTS: &[TensorElementType] = &[Float32; 3];
    const OUTPUTS: &[usize] = &[0];

    fn new(context: &KernelContext<'_>) -> ort::Result<Self> {
        Ok(Self {
            heads: tensors::count(context, "heads")?,
        })
    }
}

impl Kernel for Bfloat16Attention {
    fn compute(&mut self, context: &ComputeContext) -> ort::Result<()> {
        let heads = self.heads;
        query_key_value::compute(context, heads, |[batch, tokens, width], inputs, attended| {
            let size = width / heads;
            let pieces_of_sequence = if batch < PIECES { heads } else { 1 };
            let piece_width = width / pieces_of_sequence;
            let mut pieces: Vec<Piece<'_>> = (0..batch * pieces_of_sequence)
                .map(|index| {
                    let sequence = index / pieces_of_sequence * tokens * width..;
                    let first_column = index % pieces_of_sequence * piece_width;
                    Piece {
                        inputs: inputs
                            .map(|values| &values[sequence.clone()][..tokens * width][first_column..]),
                        attended: Vec::with_capacity(tokens),
                    }
                })
                .collect();
            for (index, part) in attended.chunks_exact_mut(piece_width).enumerate() {
                let sequence = index / (tokens * pieces_of_sequence);
                let piece = sequence * pieces_of_sequence + index % pieces_of_sequence;
                pieces[piece].attended.push(part);
            }
            parallel::for_each(context, pieces, |piece| piece.attend(width, size))
        })
    }
}

/// The work of some heads of one sequence.
struct Piece<'a> {
    /// Query, key and value, from the first head on.
    inputs: [&'a [f32]; 3],
    /// The heads' results, by token.
    attended: Vec<&'a mut [f32]>,
}

impl Piece<'_> {
    /// Computes the heads; tokens have `width` values, heads `size`.
    fn attend(mut self, width: usize, size: usize) {
        thread_local! {
            static HEAD: RefCell<Head> = RefCell::default();
        }
        let columns = self.attended.first().map_or(0, |part| part.len());
        HEAD.with_borrow_mut(|head| {
            for first in (0..columns).step_by(size) {
                let inputs = self.inputs.map(|values| Tokens {
                    values: &values[first..],
                    stride: width,
                    size,
                });
                let attended = self.attended.iter_mut().map(|part| &mut part[first..][..size]);
                // SAFETY: the operator is registered only if `is_supported` found the instructions.
                unsafe { head.attend(inputs, attended) }
            }
        });
    }
}
