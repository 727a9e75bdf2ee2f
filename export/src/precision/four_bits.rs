//! 4 bits, by operators of ONNX Runtime's that multiply by such weights in floats.

use crate::graph::{BlockQuantizedWeight, Graph, UseOfWeight, Value};
use crate::nf4;
use crate::precisions::Precisions;
use crate::quantize::{self, BlockFormat};
use crate::target::Precision;
use crate::tensor::Tensor;

/// Products of matrices by `MatMulNBits`, with blocks of 32 integers around 8.
pub(super) fn quantize_to_integers(graph: &mut Graph<'_>, precisions: &Precisions<'_>) {
    let format = BlockFormat::Int4;
    replace_matmuls(graph, precisions, |graph, x, weight| {
        let weight = quantize::by_blocks(&weight.transposed(), format);
        let weight = BlockQuantizedWeight {
            format,
            shape: weight.shape,
            values: graph.weight(&weight.values),
            scales: graph.weight(&weight.scales),
        };
        graph.matmul_of_blocks(x, &weight)
    });
}

/// Products of matrices by `MatMulBnb4`, with blocks of 64 NF4 floats.
pub(super) fn quantize_to_floats(graph: &mut Graph<'_>, precisions: &Precisions<'_>) {
    replace_matmuls(graph, precisions, |graph, x, weight| {
        let shape = [0, 1].map(|axis| weight.shape().get(axis).copied().unwrap_or_default());
        let weight = nf4::nf4(&weight.transposed());
        let (values, scales) = (graph.weight(&weight.values), graph.weight(&weight.scales));
        graph.matmul_bnb4(x, [&values, &scales], shape, nf4::BLOCK_SIZE)
    });
}

/// Replaces products of a weight, `[in, out]`; what is looked up stays as it is.
fn replace_matmuls<'a>(
    graph: &mut Graph<'a>,
    precisions: &Precisions<'_>,
    matmul: impl Fn(&mut Graph<'a>, &Value, Tensor<'a>) -> Value,
) {
    graph.replace_uses_of_weights(|graph, module, used| match used {
        UseOfWeight::MatMul { x, weight } if precisions.of(module) != Precision::Fp32 => {
            Some(matmul(graph, &x, weight))
        }
        _ => None,
    });
}
