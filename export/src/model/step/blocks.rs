//! Linear layers whose weights are quantised by blocks of their rows, and what goes in row by row: for a few rows at a
//! time, none of which is to depend on the others. With many rows, [`linear`](super::linear::linear) is faster.

use super::super::layers::Linear;
use crate::graph::{BlockQuantizedWeight, Graph, Value};
use crate::precisions::Precisions;
use crate::quantize::{self, BlockFormat};
use crate::target::Precision;
use crate::tensor::Tensor;

/// What a layer gives.
pub(super) fn block_linear<'a>(
    graph: &mut Graph<'a>,
    precisions: &Precisions<'_>,
    layer: &Linear<'a>,
    x: &Value,
) -> Value {
    let format = match precisions.of(&layer.module) {
        Precision::Fp32 => return graph.within(&layer.module, |graph| layer.apply(graph, x)),
        Precision::Int4 => BlockFormat::Int4,
        _ => BlockFormat::Int8,
    };
    graph.within(&layer.module, |graph| {
        let weight = block_weight(graph, &layer.weight.clone().transposed(), format);
        let bias = layer.bias.as_ref().map(|bias| graph.weight(bias));
        graph.matmul_by_blocks(x, &weight, bias.as_ref())
    })
}

/// `weight` is `[out, in]`.
pub(super) fn block_weight<'a>(
    graph: &mut Graph<'a>,
    weight: &Tensor<'a>,
    format: BlockFormat,
) -> BlockQuantizedWeight {
    let weight = quantize::by_blocks(weight, format);
    BlockQuantizedWeight {
        format,
        shape: weight.shape,
        values: graph.weight(&weight.values),
        scales: graph.weight(&weight.scales),
    }
}
