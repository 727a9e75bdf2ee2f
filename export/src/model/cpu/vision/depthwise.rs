//! The depthwise convolutions, with the residual connection around them and the norm behind them.

use crate::checkpoint::Weights;
use crate::error::Result;
use crate::graph::{Graph, Value};
use crate::model::davit::Stage;
use crate::model::layers::layer_norm;

/// `conv(x) + x`, and that normalised, both `[batch, tokens, dim]` as `x`; `names` are those of the convolution and of
/// the norm among `weights`.
pub(super) fn depthwise_conv_residual_norm<'a>(
    graph: &mut Graph<'a>,
    stage: &Stage,
    weights: &Weights<'a>,
    [conv, norm]: [&str; 2],
    x: &Value,
) -> Result<[Value; 2]> {
    let x = graph.within(&weights.path(conv), |graph| {
        stage.depthwise(graph, &weights.at(conv), x)
    })?;
    let normed = graph.within(&weights.path(norm), |graph| {
        layer_norm(graph, &weights.at(norm), stage.dim, &x)
    })?;
    Ok([x, normed])
}
