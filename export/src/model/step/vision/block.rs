//! A block of DaViT: attention among the tokens of each window, then among the channels of each group.

use super::channel_attention::channel_attention;
use super::depthwise::depthwise_conv_residual_norm;
use super::window_attention::window_attention;
use crate::checkpoint::Weights;
use crate::error::Result;
use crate::graph::{Graph, Value};
use crate::model::davit::Stage;
use crate::model::step::mlp::Mlp;
use crate::precisions::Precisions;

/// Bytes of an MLP's hidden values that are computed at a time: with more, they leave the cache between its two layers.
const MLP_PIECE: usize = 2 << 20;
/// Tokens that are computed at a time at least: with fewer, reading the weights again for each piece costs more than
/// that.
const MLP_TOKENS: usize = 256;

/// `[batch, tokens, dim]` to the same; `weights` has `spatial_block` and `channel_block`.
pub(super) fn dual_attention_block<'a>(
    graph: &mut Graph<'a>,
    precisions: &Precisions<'_>,
    stage: &Stage,
    weights: &Weights<'a>,
    x: &Value,
) -> Result<Value> {
    let spatial = weights.at("spatial_block");
    let x = half(graph, precisions, stage, &spatial, x, |graph, x| {
        window_attention(graph, precisions, stage, &spatial.at("window_attn"), x)
    })?;
    let channel = weights.at("channel_block");
    half(graph, precisions, stage, &channel, &x, |graph, x| {
        channel_attention(graph, precisions, stage, &channel.at("channel_attn"), x)
    })
}

/// An attention and an MLP, each behind a depthwise convolution and a norm.
fn half<'a>(
    graph: &mut Graph<'a>,
    precisions: &Precisions<'_>,
    stage: &Stage,
    weights: &Weights<'a>,
    x: &Value,
    attention: impl FnOnce(&mut Graph<'a>, &Value) -> Result<Value>,
) -> Result<Value> {
    let module = weights.module("");
    let [x, normed] = depthwise_conv_residual_norm(graph, stage, weights, ["conv1", "norm1"], x)?;
    let attended = attention(graph, &normed)?;
    let x = graph.within(&module, |graph| graph.add(&x, &attended));
    let [x, normed] = depthwise_conv_residual_norm(graph, stage, weights, ["conv2", "norm2"], &x)?;
    let mlp = Mlp {
        dim: stage.dim,
        hidden: stage.mlp_dim,
        activation: stage.activation,
    };
    let largest = MLP_PIECE / (stage.mlp_dim * size_of::<f32>());
    let pieces = pieces(stage.grid.tokens(), largest.max(MLP_TOKENS));
    let hidden = mlp.apply_in_pieces(graph, precisions, &weights.at("ffn"), &pieces, &normed)?;
    Ok(graph.within(&module, |graph| graph.add(&x, &hidden)))
}

/// `tokens` in as few pieces of at most `largest` as possible, which differ by one token at most.
fn pieces(tokens: usize, largest: usize) -> Vec<usize> {
    let count = tokens.div_ceil(largest);
    (0..count)
        .map(|piece| tokens * (piece + 1) / count - tokens * piece / count)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_even_and_small_enough() {
        assert_eq!(pieces(10, 10), [10]);
        assert_eq!(pieces(10, 9), [5, 5]);
        assert_eq!(pieces(11, 4), [3, 4, 4]);
        assert_eq!(pieces(3, 1), [1, 1, 1]);
    }
}
