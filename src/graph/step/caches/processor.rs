//! Caches in the processor's memory: float32, changed in place.

use ort::value::DynValue;

use super::{CacheShape, Passage};
use crate::error::{Error, Result};
use crate::graph::step::moves::{Copy, Move, Tokens};

fn values(tensor: &DynValue) -> Result<&[f32]> {
    let extracted = tensor.try_extract_tensor::<f32>();
    Ok(extracted.map_err(Error::ort("reading a cache"))?.1)
}

fn values_mut(tensor: &mut DynValue) -> Result<&mut [f32]> {
    let extracted = tensor.try_extract_tensor_mut::<f32>();
    Ok(extracted.map_err(Error::ort("changing a cache"))?.1)
}

/// Carries out moves of rows; `aside` is memory for them.
pub(super) fn carry_out(
    tensors: &mut [DynValue],
    shape: CacheShape,
    moves: &[Move],
    aside: &mut Vec<f32>,
) -> Result<()> {
    for tensor in tensors {
        let data = values_mut(tensor)?;
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
    Ok(())
}

/// Copies rows of caches into others, of the same heads.
pub(super) fn copy_rows(
    (sources, source_shape): (&[DynValue], CacheShape),
    (targets, target_shape): (&mut [DynValue], CacheShape),
    passages: &[Passage],
) -> Result<()> {
    for (source, target) in sources.iter().zip(targets) {
        let (source, target) = (values(source)?, values_mut(target)?);
        for &Passage { from, to, length } in passages {
            let tokens = Tokens {
                start: 0,
                end: length,
            };
            let source_spans = source_shape.spans(from, tokens);
            for (source_span, target_span) in source_spans.zip(target_shape.spans(to, tokens)) {
                target[target_span].copy_from_slice(&source[source_span]);
            }
        }
    }
    Ok(())
}
