//! Attention among the tokens of each window.

use crate::checkpoint::Weights;
use crate::error::Result;
use crate::graph::{Graph, Value};
use crate::model::davit::Stage;
use crate::model::layers::Linear;
use crate::model::step::attention;
use crate::model::step::linear::linear;
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
    let qkv = stage.qkv(weights)?;
    let is_exact = attention::any_exact(precisions, &qkv);
    let [query, key, value] = linear(graph, precisions, qkv, &x);
    let x = graph.within(&module, |graph| {
        attention::self_attention(graph, is_exact, [&query, &key, &value], stage.heads)
    });
    let [x] = linear(graph, precisions, [output], &x);
    Ok(graph.within(&module, |graph| stage.merge(graph, &x)))
}
