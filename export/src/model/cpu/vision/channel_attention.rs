//! Attention among the channels of each group: tokens play the part of features.

use super::gram;
use crate::checkpoint::Weights;
use crate::error::Result;
use crate::graph::{FusedMatMul, Graph, Value};
use crate::model::cpu::linear::linear;
use crate::model::davit::Stage;
use crate::model::layers::{Linear, merge_heads, split_heads};
use crate::precisions::Precisions;
use crate::target::Precision;

/// `[batch, tokens, dim]` to the same; `weights` has `qkv` and `proj`.
pub(super) fn channel_attention<'a>(
    graph: &mut Graph<'a>,
    precisions: &Precisions<'_>,
    stage: &Stage,
    weights: &Weights<'a>,
    x: &Value,
) -> Result<Value> {
    let qkv = stage.qkv(weights)?;
    let output = Linear::load(&weights.at("proj"), stage.dim, stage.dim, true)?;
    let of_floats = |layer: &Linear<'_>| precisions.of(&layer.module) == Precision::Fp32;
    if qkv.iter().chain([&output]).all(of_floats) && gram::pays(stage) {
        return Ok(graph.within(&weights.path("gram"), |graph| {
            gram::channel_attention(graph, stage, qkv, output, x)
        }));
    }
    let projected = linear(graph, precisions, qkv, x);
    let scores = FusedMatMul {
        transpose_a: true,
        alpha: Some((stage.grid.tokens() as f64).powf(-0.5) as f32),
        ..FusedMatMul::default()
    };
    let mixture = FusedMatMul {
        transpose_b: true,
        ..FusedMatMul::default()
    };
    let x = graph.within(&weights.path("groups"), |graph| {
        // [batch, groups, tokens, channels of a group]
        let [query, key, value] =
            projected.map(|x| split_heads(graph, &x, stage.groups, stage.dim / stage.groups));
        let scores = graph.fused_matmul(&query, &key, scores);
        let probabilities = graph.softmax(&scores);
        let x = graph.fused_matmul(&value, &probabilities, mixture);
        merge_heads(graph, &x, stage.dim)
    });
    let [x] = linear(graph, precisions, [output], &x);
    Ok(x)
}
