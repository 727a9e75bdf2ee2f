//! Channel attention from the Gram matrix of the tokens: half the multiplications where there are more tokens than
//! channels.
//!
//! Scores are `qᵀ k` over the tokens. Where `x` is the tokens with a column of ones, and `Q`, `K` the projections with
//! their biases as a last row, `q = x·Q` and `k = x·K`, so
//!
//! ```text
//! qᵀ k = Qᵀ (xᵀ x) K
//! ```
//!
//! needs neither query nor key. The output is linear in the value `x·V + u`, so that value, mixture and output projection
//! `·O + o` are one matrix for all tokens: with `A` the probabilities, by group,
//!
//! ```text
//! (x·V + u) Aᵀ O + o = x (V Aᵀ O) + (u Aᵀ O + o)
//! ```

use super::stage::Stage;
use crate::graph::{Graph, Transposed, Value};
use crate::layers::Linear;
use crate::tensor::Tensor;

/// Whether attention by the Gram matrix is faster than by the projections: it saves time for each token and costs
/// time for each channel.
pub(super) fn is_faster(stage: &Stage) -> bool {
    stage.grid.tokens() >= 2 * stage.dim
}

/// Channel attention of `x`, `[batch, tokens, dim]`; the result has the same shape.
pub(super) fn channel_attention<'a>(
    graph: &mut Graph<'a>,
    stage: &Stage,
    [query, key, value]: [Linear<'a>; 3],
    output: Linear<'a>,
    x: &Value,
) -> Value {
    let (groups, dim) = (stage.groups, stage.dim);
    let probabilities = probabilities(graph, stage, &query, &key, x);
    // Aᵀ O
    let output_weight = output
        .weight
        .derived("by_group", [1, groups, dim / groups, dim], |values| values);
    let output_weight = graph.weight(&output_weight);
    let mixture = graph.fused_matmul(&probabilities, &output_weight, Transposed::Left, 1.0);
    let mixture = graph.reshape(&mixture, &[-1, dim as i64, dim as i64]);

    let weight = graph.weight(&value.weight);
    let weight = graph.matmul(&weight, &mixture);
    let mixed = graph.matmul(x, &weight);
    let value_bias = value.bias.map(|bias| {
        let bias = graph.weight(&bias.derived("row", [1, dim], |values| values));
        graph.matmul(&bias, &mixture)
    });
    let output_bias = output.bias.map(|bias| graph.weight(&bias));
    match (value_bias, output_bias) {
        (Some(value), Some(output)) => {
            let bias = graph.add(&value, &output);
            graph.add(&mixed, &bias)
        }
        (Some(bias), None) | (None, Some(bias)) => graph.add(&mixed, &bias),
        (None, None) => mixed,
    }
}

/// The probabilities of each query channel (row) over the key channels, `[batch, groups, size, size]`.
fn probabilities<'a>(
    graph: &mut Graph<'a>,
    stage: &Stage,
    query: &Linear<'a>,
    key: &Linear<'a>,
    x: &Value,
) -> Value {
    let (groups, size) = (stage.groups, stage.dim / stage.groups);
    let with_bias = query.bias.is_some() && key.bias.is_some();
    let gram = gram(graph, stage, x, with_bias);
    let [query, key] = [query, key].map(|layer| {
        if with_bias {
            bias_as_row(layer)
        } else {
            layer.weight.clone()
        }
    });
    let rows = query.shape().first().copied().unwrap_or_default();
    let query = query
        .transposed()
        .derived("by_group", [1, groups, size, rows], |values| values);
    let (query, key) = (graph.weight(&query), graph.weight(&key));
    let keys = graph.matmul(&gram, &key);
    let keys = graph.reshape(&keys, &[0, 0, groups as i64, size as i64]);
    let keys = graph.transpose(&keys, &[0, 2, 1, 3]);
    let scores = graph.matmul(&query, &keys);
    graph.softmax(&scores)
}

/// `xᵀ x` on the scale of the scores, for the tokens or the tokens with a column of ones.
fn gram(graph: &mut Graph<'_>, stage: &Stage, x: &Value, with_ones: bool) -> Value {
    let tokens = stage.grid.tokens() as f64;
    let scale = tokens.powf(-0.5) as f32;
    let gram = graph.fused_matmul(x, x, Transposed::Left, scale);
    if !with_ones {
        return gram;
    }
    let sum = graph.reduce_sum(x, 1);
    let scale = graph.scalar(scale);
    let sum = graph.mul(&sum, &scale);
    let column = graph.transpose(&sum, &[0, 2, 1]);
    let upper = graph.concat(&[&gram, &column], 2);
    let count = graph.scalar(tokens.sqrt() as f32);
    let last = graph.pad_with(&sum, &[0; 3], &[0, 0, 1], &count);
    graph.concat(&[&upper, &last], 1)
}

/// The weight with the bias as its last row, `[in + 1, out]`.
fn bias_as_row<'a>(layer: &Linear<'a>) -> Tensor<'a> {
    let (weight, bias) = (layer.weight.clone(), layer.bias.clone());
    let outputs = weight.shape().last().copied().unwrap_or_default();
    let rows = weight.len() / outputs.max(1) + 1;
    Tensor::new(
        format!("{}.and_bias", weight.name()),
        [rows, outputs],
        move || {
            let mut values = weight.values();
            values.extend(bias.iter().flat_map(Tensor::values));
            values
        },
    )
}
