//! Attention among the tokens of each window.

use crate::checkpoint::Weights;
use crate::error::Result;
use crate::graph::{Graph, Value};
use crate::model::cpu::linear::linear;
use crate::model::davit::Stage;
use crate::model::layers::Linear;
use crate::precisions::Precisions;

/// `[batch, tokens, dim]` to the same; `weights` has `qkv` and `proj`.
pub(super) fn window_attention<'a>(
    graph: &mut Graph<'a>,
    precisions: &Precisions<'_>,
    stage: &Stage,
    weights: &Weights<'a>,
    x: &Value,
) -> Result<Value> {
    let module = weights.path("windows");
    let output = Linear::load(&weights.at("proj"), stage.dim, stage.dim, true)?;
    let x = graph.within(&module, |graph| stage.partition(graph, x));
    let [query, key, value] = linear(graph, precisions, stage.qkv(weights)?, &x);
    let scale = ((stage.dim / stage.heads) as f64).powf(-0.5) as f32;
    let x = graph.within(&module, |graph| {
        graph.multi_head_attention([&query, &key, &value], stage.heads, scale)
    });
    let [x] = linear(graph, precisions, [output], &x);
    Ok(graph.within(&module, |graph| stage.merge(graph, &x)))
}
