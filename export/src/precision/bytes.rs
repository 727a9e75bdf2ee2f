//! 8 bits, as ONNX Runtime's `quantize_dynamic` makes them of standard operators: products of matrices in integers, what
//! goes in being quantised while it runs. ONNX Runtime makes one operator of them.

use crate::byte_weights::{Byte, ByteWeight, Channels, byte_weight};
use crate::graph::{Graph, UseOfWeight, Value};
use crate::precisions::Precisions;
use crate::target::Precision;
use crate::tensor::Tensor;

/// Quantises the weights of products and the rows that are looked up, to bytes of type `B`.
pub(super) fn quantize<B: Byte>(graph: &mut Graph<'_>, precisions: &Precisions<'_>) {
    graph.replace_uses_of_weights(|graph, module, used| {
        if precisions.of(module) == Precision::Fp32 {
            return None;
        }
        Some(match used {
            UseOfWeight::MatMul { x, weight } => matmul::<B>(graph, &x, &weight),
            UseOfWeight::Gather { weight, indices } => gather::<B>(graph, &weight, &indices),
        })
    });
}

/// `x · weight`; each column (output channel) of the weight has a scale and a zero point.
fn matmul<'a, B: Byte>(graph: &mut Graph<'a>, x: &Value, weight: &Tensor<'a>) -> Value {
    let x = graph.dynamic_quantize(x);
    let ByteWeight {
        values,
        scales,
        zero_points,
    } = byte_weight::<B>(weight, Channels::Columns);
    let (values, scales) = (graph.weight(&values), graph.weight(&scales));
    let zero_points = graph.weight(&zero_points);
    let inputs = [&x.values, &values, &x.zero_point, &zero_points];
    let product = graph.node("MatMulInteger", &inputs, &[]);
    let product = graph.cast_to_float(&product);
    let scale = graph.mul(&x.scale, &scales);
    graph.mul(&product, &scale)
}

/// Rows of a table, each with a scale and a zero point. (`quantize_dynamic` has one for the whole table.)
fn gather<'a, B: Byte>(graph: &mut Graph<'a>, table: &Tensor<'a>, indices: &Value) -> Value {
    let ByteWeight {
        values,
        scales,
        zero_points,
    } = byte_weight::<B>(table, Channels::Rows);
    let values = gather_floats(graph, &values, indices);
    let [scales, zero_points] = [
        {
            let scales = graph.weight(&scales);
            graph.gather(&scales, indices)
        },
        gather_floats(graph, &zero_points, indices),
    ]
    .map(|of_rows| graph.unsqueeze(&of_rows, &[-1]));
    let values = graph.sub(&values, &zero_points);
    graph.mul(&values, &scales)
}

/// Rows of a table of bytes, as floats.
fn gather_floats<'a, B: Byte>(graph: &mut Graph<'a>, table: &Tensor<'a, B>, indices: &Value) -> Value {
    let table = graph.weight(table);
    let rows = graph.gather(&table, indices);
    graph.cast_to_float(&rows)
}
