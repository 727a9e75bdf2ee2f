//! The plain graphs in other precisions than 32-bit floats: rewritten, once they are finished.

mod bytes;
mod four_bits;

use crate::graph::Graph;
use crate::model::SPATIAL_AVERAGE;
use crate::precisions::Precisions;
use crate::target::Precision;

/// Modules whose arithmetic stays in 32-bit floats where the rest is in 16-bit ones, which it can overflow: the sum over
/// all image tokens, 576 of them, of which the mean is made.
const OVERFLOWING: [&str; 1] = [SPATIAL_AVERAGE];

/// The graph in its precision; with inputs and outputs in 16-bit floats, if that is one of these and `float16_io` is set.
pub(crate) fn rewrite<'a>(mut graph: Graph<'a>, precisions: &Precisions<'_>, float16_io: bool) -> Graph<'a> {
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
        float16_io,
    )
}
