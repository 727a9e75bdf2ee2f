//! DaViT: *Dual Attention Vision Transformers* (Ding et al., 2022), as Florence-2 has it: a depthwise convolution before
//! each attention and each MLP.
//!
//! Tokens stay `[batch, tokens, channels]` throughout. Only convolutions take channels first, between two
//! transpositions of 4-D tensors, which ONNX Runtime folds into its own blocked layout.

mod channel_attention;
mod depthwise;
mod gram;
mod patch_embedding;
mod stage;
mod window_attention;

use florence2_layout::image_size::ImageSize;

use crate::checkpoint::Weights;
use crate::config::VisionConfig;
use crate::error::Result;
use crate::graph::{Graph, Value};
use crate::layers::mlp;
use crate::target::Operators;
use stage::Stage;

/// Bytes of an MLP's hidden values that are computed at a time: more than that leave the CPU's cache between its two
/// layers.
const MLP_PIECE: usize = 2 << 20;
/// The least number of tokens that are computed at a time: reading the weights again for each piece of fewer tokens costs
/// more than a piece that leaves the cache.
const MLP_TOKENS: usize = 256;

/// Pixels `[batch, channels, height, width]` to the last stage's tokens, `[batch, tokens, channels]`.
pub(super) fn davit<'a>(
    graph: &mut Graph<'a>,
    config: &VisionConfig,
    weights: &Weights<'a>,
    image: ImageSize,
    pixels: &Value,
) -> Result<Value> {
    let mut x = pixels.clone();
    for stage in Stage::all(config, image)? {
        x = stage.patch_embedding(graph, weights, &x)?;
        for block in 0..stage.depth {
            let block = weights.at(format_args!("blocks.{}.{block}", stage.index));
            let spatial = block.at("spatial_block");
            x = stage.block(graph, &spatial, &x, |graph, x| {
                stage.window_attention(graph, &spatial.at("window_attn"), x)
            })?;
            let channel = block.at("channel_block");
            x = stage.block(graph, &channel, &x, |graph, x| {
                stage.channel_attention(graph, &channel.at("channel_attn"), x)
            })?;
        }
    }
    Ok(x)
}

impl Stage {
    /// A spatial or a channel block, which differ in their attention.
    fn block<'a>(
        &self,
        graph: &mut Graph<'a>,
        weights: &Weights<'a>,
        x: &Value,
        attention: impl FnOnce(&mut Graph<'a>, &Value) -> Result<Value>,
    ) -> Result<Value> {
        graph.within(&weights.module(""), |graph| {
            let [x, normed] = self.depthwise_norm(graph, weights, ["conv1", "norm1"], x)?;
            let y = attention(graph, &normed)?;
            let x = graph.add(&x, &y);
            let [x, normed] = self.depthwise_norm(graph, weights, ["conv2", "norm2"], &x)?;
            let y = self.mlp(graph, &weights.at("ffn"), &normed)?;
            Ok(graph.add(&x, &y))
        })
    }

    /// The MLP of a block. On a CPU, it takes pieces of the sequence one after another: the hidden values then fit into the
    /// cache, and each piece is quantized with a scale of its own.
    fn mlp<'a>(&self, graph: &mut Graph<'a>, weights: &Weights<'a>, x: &Value) -> Result<Value> {
        let dims = [self.dim, self.mlp_dim];
        let largest = MLP_PIECE / (self.mlp_dim * size_of::<f32>());
        let pieces = pieces(self.grid.tokens(), largest.max(MLP_TOKENS));
        if pieces.len() < 2 || graph.lowering.operators != Operators::Custom {
            return mlp(graph, weights, dims, self.activation, x);
        }
        let parts = graph.split(x, &pieces, 1);
        let parts: Vec<Value> = parts
            .iter()
            .map(|part| mlp(graph, weights, dims, self.activation, part))
            .collect::<Result<_>>()?;
        Ok(graph.concat(&parts.iter().collect::<Vec<_>>(), 1))
    }
}

/// `tokens` in the fewest pieces of at most `largest`, whose sizes differ by one token at most.
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
