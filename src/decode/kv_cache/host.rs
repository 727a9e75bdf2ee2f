//! KV cache tensors in the CPU's memory: float32, changed in place.

use std::ops::Range;

use ort::value::DynValue;

use super::CacheShape;
use crate::decode::slots::RowCopy;
use crate::error::{Error, Result};

fn values(tensor: &DynValue) -> Result<&[f32]> {
    let extracted = tensor.try_extract_tensor::<f32>();
    Ok(extracted.map_err(Error::ort("reading a cache"))?.1)
}

fn values_mut(tensor: &mut DynValue) -> Result<&mut [f32]> {
    let extracted = tensor.try_extract_tensor_mut::<f32>();
    Ok(extracted.map_err(Error::ort("changing a cache"))?.1)
}

/// Copies rows over each other, all at once; `aside` is the temporary buffer.
pub(super) fn reorder(
    tensors: &mut [DynValue],
    shape: CacheShape,
    copies: &[RowCopy],
    aside: &mut Vec<f32>,
) -> Result<()> {
    let steps = in_order(copies);
    for tensor in tensors {
        apply(values_mut(tensor)?, shape, &steps, aside);
    }
    Ok(())
}

/// Applies the copies to a tensor's values; `aside` is the temporary buffer.
fn apply(data: &mut [f32], shape: CacheShape, steps: &[Step], aside: &mut Vec<f32>) {
    for Step { from, to, tokens } in steps {
        match (*from, *to) {
            (Some(from), Some(to)) => {
                for (source, target) in shape.spans(from, tokens).zip(shape.spans(to, tokens)) {
                    data.copy_within(source, target.start);
                }
            }
            (Some(from), None) => {
                aside.clear();
                for source in shape.spans(from, tokens) {
                    aside.extend_from_slice(&data[source]);
                }
            }
            (None, Some(to)) => {
                let mut saved = aside.as_slice();
                for target in shape.spans(to, tokens) {
                    let (part, rest) = saved.split_at(target.len());
                    data[target].copy_from_slice(part);
                    saved = rest;
                }
            }
            (None, None) => {}
        }
    }
}

/// A copy of one row's tokens to another row; `None` is the temporary buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Step {
    from: Option<usize>,
    to: Option<usize>,
    tokens: Range<usize>,
}

/// Orders copies so that no row is overwritten before it is read. Each cycle of rows that replace each other takes
/// one more copy, to the temporary buffer.
fn in_order(copies: &[RowCopy]) -> Vec<Step> {
    let pending = copies.iter().map(|copy| Step {
        from: Some(copy.from),
        to: Some(copy.to),
        tokens: copy.tokens.clone(),
    });
    let mut pending: Vec<Step> = pending.collect();
    let mut steps = Vec::new();
    while let Some(first) = pending.first() {
        let is_read = |row| pending.iter().any(|other| other.from == row);
        match pending.iter().position(|step| !is_read(step.to)) {
            Some(index) => steps.push(pending.swap_remove(index)),
            // Only cycles are left: once one row of a cycle is in the temporary buffer, the cycle can be copied in
            // reverse.
            None => {
                steps.push(Step {
                    to: None,
                    ..first.clone()
                });
                pending[0].from = None;
            }
        }
    }
    steps
}

/// Copies rows of tensors into others with the same heads.
pub(super) fn copy_rows(
    (sources, source_shape): (&[DynValue], CacheShape),
    (targets, target_shape): (&mut [DynValue], CacheShape),
    copies: &[RowCopy],
) -> Result<()> {
    for (source, target) in sources.iter().zip(targets) {
        let (source, target) = (values(source)?, values_mut(target)?);
        for RowCopy { from, to, tokens } in copies {
            let source_spans = source_shape.spans(*from, tokens);
            for (source_span, target_span) in source_spans.zip(target_shape.spans(*to, tokens)) {
                target[target_span].copy_from_slice(&source[source_span]);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two heads of two values each.
    fn shape(rows: usize) -> CacheShape {
        CacheShape {
            rows,
            heads: 2,
            capacity: 2,
            head_size: 2,
        }
    }

    /// The copies for which row `i`, from token `start` on, becomes row `parents[i]`.
    fn copies(parents: &[usize], start: usize) -> Vec<RowCopy> {
        let moved = parents.iter().enumerate().filter(|&(to, &from)| from != to);
        let copies = moved.map(|(to, &from)| RowCopy {
            from,
            to,
            tokens: start..2,
        });
        copies.collect()
    }

    /// Does the copies on rows whose values are their numbers; checks that the tokens before `start` are as before.
    fn reordered(parents: &[usize], start: usize) -> (Vec<usize>, Vec<Step>) {
        let rows = parents.len();
        let mut data: Vec<f32> = (0..rows).flat_map(|row| [row as f32; 8]).collect();
        let steps = in_order(&copies(parents, start));
        apply(&mut data, shape(rows), &steps, &mut Vec::new());
        let found = data.chunks_exact(8).enumerate().map(|(row, values)| {
            for head in values.chunks_exact(4) {
                assert!(head[..start * 2].iter().all(|&value| value == row as f32));
                assert!(head[start * 2..].iter().all(|&value| value == values[7]));
            }
            values[7] as usize
        });
        (found.collect(), steps)
    }

    fn saved(steps: &[Step]) -> usize {
        steps.iter().filter(|step| step.to.is_none()).count()
    }

    /// Every way in which four rows can continue four rows.
    #[test]
    fn rows_are_copied_as_if_at_once() {
        for code in 0..256_usize {
            let parents = [code % 4, code / 4 % 4, code / 16 % 4, code / 64];
            for start in [0, 1] {
                let (rows, steps) = reordered(&parents, start);
                assert_eq!(rows, parents, "{steps:?}");
                let copied = copies(&parents, start).len();
                assert_eq!(steps.len(), copied + saved(&steps), "{parents:?} {steps:?}");
            }
        }
    }

    #[test]
    fn cycles_take_one_copy_more() {
        let (rows, steps) = reordered(&[1, 2, 0, 4, 3, 0], 0);
        assert_eq!(rows, [1, 2, 0, 4, 3, 0]);
        assert_eq!((saved(&steps), steps.len()), (2, 8));
    }
}
