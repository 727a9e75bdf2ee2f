//! DaViT: *Dual Attention Vision Transformers* (Ding et al., 2022), as Florence-2 has it: a depthwise
//! convolution before each attention and each MLP. For all targets but [`Cpu`](crate::Target::Cpu), which is built in
//! [`step`](super::step).
//!
//! Tokens stay `[batch, tokens, channels]` throughout. Only convolutions want channels first: they stand between
//! two transpositions of 4-D tensors, which ONNX Runtime folds into its own blocked layout.

mod patch_embedding;
mod stage;
mod windows;

use super::layers::{Linear, attention, layer_norm, merge_heads, mlp, split_heads};
use crate::checkpoint::Weights;
use crate::config::VisionConfig;
use crate::error::Result;
use crate::graph::{Attribute, Graph, Value};
use crate::image_size::ImageSize;
use crate::target::Operators;
pub(super) use stage::Stage;

/// Pixels `[batch, channels, height, width]` to the last stage's tokens, `[batch, tokens, channels]`.
pub(super) fn davit<'a>(
    graph: &mut Graph<'a>,
    operators: Operators,
    config: &VisionConfig,
    weights: &Weights<'a>,
    image: ImageSize,
    pixels: &Value,
) -> Result<Value> {
    let mut x = pixels.clone();
    for stage in Stage::all(config, image)? {
        x = stage.patch_embedding(graph, weights, &x)?;
        for block in 0..stage.depth {
            let block = stage.weights(weights, block);
            let spatial = block.at("spatial_block");
            x = stage.block(graph, operators, &spatial, &x, |graph, y| {
                stage.window_attention(graph, operators, &spatial, y)
            })?;
            let channel = block.at("channel_block");
            x = stage.block(graph, operators, &channel, &x, |graph, y| {
                stage.channel_attention(graph, &channel, y)
            })?;
        }
    }
    Ok(x)
}

impl Stage {
    /// A spatial or a channel block: they differ in their attention.
    fn block<'a>(
        &self,
        graph: &mut Graph<'a>,
        operators: Operators,
        weights: &Weights<'a>,
        x: &Value,
        attend: impl FnOnce(&mut Graph<'a>, &Value) -> Result<Value>,
    ) -> Result<Value> {
        graph.within(&weights.module(""), |graph| {
            let x = self.depthwise(graph, &weights.at("conv1"), x)?;
            let y = layer_norm(graph, &weights.at("norm1"), self.dim, &x)?;
            let y = attend(graph, &y)?;
            let x = graph.add(&x, &y);
            let x = self.depthwise(graph, &weights.at("conv2"), &x)?;
            let y = layer_norm(graph, &weights.at("norm2"), self.dim, &x)?;
            let y = mlp(
                graph,
                &weights.at("ffn"),
                self.dim,
                self.mlp_dim,
                self.activation,
                operators,
                &y,
            )?;
            Ok(graph.add(&x, &y))
        })
    }

    /// Query, key and value projections; the query comes times `scale`.
    fn scaled_qkv<'a>(&self, weights: &Weights<'a>, scale: f64) -> Result<[Linear<'a>; 3]> {
        let [query, key, value] = self.qkv(weights)?;
        Ok([query.scaled(scale as f32), key, value])
    }

    /// Multi-head self-attention among the tokens of each window.
    fn window_attention<'a>(
        &self,
        graph: &mut Graph<'a>,
        operators: Operators,
        weights: &Weights<'a>,
        x: &Value,
    ) -> Result<Value> {
        let weights = weights.at("window_attn");
        let head_size = self.dim / self.heads;
        let scale = match operators {
            Operators::Standard => (head_size as f64).powf(-0.5),
            // Its operator has the factor.
            Operators::Contrib | Operators::Own => 1.0,
        };
        let projections = self.scaled_qkv(&weights, scale)?;
        graph.within(&weights.module(""), |graph| {
            let x = self.partition(graph, x);
            let projected = projections.map(|projection| projection.apply(graph, &x));
            let x = match operators {
                Operators::Standard => {
                    let [query, key, value] =
                        projected.map(|x| split_heads(graph, &x, self.heads, head_size));
                    let x = attention(graph, &query, &key, &value, None);
                    merge_heads(graph, &x, self.dim)
                }
                Operators::Contrib | Operators::Own => {
                    let heads = Attribute::Int(self.heads as i64);
                    graph.multi_head_attention(projected.each_ref(), None, heads)
                }
            };
            let x = Linear::load(&weights.at("proj"), self.dim, self.dim, true)?.apply(graph, &x);
            Ok(self.merge(graph, &x))
        })
    }

    /// Self-attention among the channels of each group: tokens play the part of features.
    fn channel_attention<'a>(
        &self,
        graph: &mut Graph<'a>,
        weights: &Weights<'a>,
        x: &Value,
    ) -> Result<Value> {
        let weights = weights.at("channel_attn");
        let projections = self.scaled_qkv(&weights, (self.grid.tokens() as f64).powf(-0.5))?;
        graph.within(&weights.module(""), |graph| {
            // [batch, groups, tokens, channels of a group]
            let [query, key, value] = projections.map(|projection| {
                let x = projection.apply(graph, x);
                split_heads(graph, &x, self.groups, self.dim / self.groups)
            });
            let query = graph.transpose(&query, &[0, 1, 3, 2]);
            let scores = graph.matmul(&query, &key);
            let probabilities = graph.softmax(&scores);
            let probabilities = graph.transpose(&probabilities, &[0, 1, 3, 2]);
            let x = graph.matmul(&value, &probabilities);
            let x = merge_heads(graph, &x, self.dim);
            Ok(Linear::load(&weights.at("proj"), self.dim, self.dim, true)?.apply(graph, &x))
        })
    }
}
