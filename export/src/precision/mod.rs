//! Graphs of floats in other precisions than 32-bit ones: rewritten, once they are finished.

mod bytes;
mod four_bits;

use crate::graph::Graph;
use crate::model::SPATIAL_AVERAGE;
use crate::precisions::Precisions;
use crate::target::Precision;

/// Modules whose arithmetic stays in 32-bit floats where the rest is in 16-bit ones, which it can overflow: the sum over
/// all image tokens, 576 of them, of which the mean is made.
const OVERFLOWING: [&str; 1] = [SPATIAL_AVERAGE];

/// The graph in its precision; with the inputs and outputs that `is_float16` names in 16-bit floats, if the precision is
/// one of these.
pub(crate) fn rewrite<'a>(
    mut graph: Graph<'a>,
    precisions: &Precisions<'_>,
    is_float16: &dyn Fn(&str) -> bool,
) -> Graph<'a> {
    let precision = precisions.precision();
    match precision {
        Precision::Fp32 | Precision::Fp16 => {}
        Precision::Int8 | Precision::Quantized => bytes::quantize::<i8>(&mut graph, precisions),
        Precision::Uint8 => bytes::quantize::<u8>(&mut graph, precisions),
        Precision::Int4 | Precision::Q4 | Precision::Q4F16 => {
            four_bits::quantize_to_integers(&mut graph, precisions)
        }
        Precision::Bnb4 => four_bits::quantize_to_floats(&mut graph, precisions),
    }
    if !precision.is_float16() {
        return graph;
    }
    let overflows = |module: &str| OVERFLOWING.iter().any(|name| module.ends_with(name));
    graph.into_float16(
        &|module| !module.is_empty() && (overflows(module) || precisions.of(module) == Precision::Fp32),
        is_float16,
    )
}
