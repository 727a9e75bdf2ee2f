//! DaViT: *Dual Attention Vision Transformers* (Ding et al., 2022), as Florence-2 has it: a depthwise
//! convolution before each attention and each MLP.
//!
//! Tokens stay `[batch, tokens, channels]` throughout. Only convolutions want channels first: they stand between
//! two transpositions of 4-D tensors, which ONNX Runtime folds into its own blocked layout.

use super::layers::{Activation, Linear, attention, layer_norm, merge_heads, mlp, split_heads};
use crate::checkpoint::Weights;
use crate::config::VisionConfig;
use crate::error::Result;
use crate::graph::{Conv2d, Graph, Value};
use crate::image_size::{Grid, ImageSize};

/// Kernel of the depthwise convolutions.
const DEPTHWISE_KERNEL: usize = 3;

/// One stage: all its blocks have the same size.
struct Stage {
    grid: Grid,
    dim: usize,
    heads: usize,
    groups: usize,
    mlp_dim: usize,
    window: usize,
    qkv_bias: bool,
    activation: Activation,
}

/// Pixels `[batch, channels, height, width]` to the last stage's tokens, `[batch, tokens, channels]`.
pub(super) fn davit<'a>(
    graph: &mut Graph<'a>,
    config: &VisionConfig,
    weights: &Weights<'a>,
    image: ImageSize,
    pixels: &Value,
) -> Result<Value> {
    let activation =
        Activation::from_config("vision_config.activation_function", &config.activation_function)?;
    let mut grid = Grid {
        height: image.height,
        width: image.width,
    };
    let mut x = pixels.clone();
    for (index, &dim) in config.embed_dim.iter().enumerate() {
        let convs = weights.at(format_args!("convs.{index}"));
        x = patch_embedding(graph, config, index, &convs, grid, &x)?;
        grid = config.stage_grid(index, grid);
        let stage = Stage {
            grid,
            dim,
            heads: config.num_heads[index],
            groups: config.num_groups[index],
            mlp_dim: config.mlp_dim(dim),
            window: config.window_size,
            qkv_bias: config.qkv_bias,
            activation,
        };
        for block in 0..config.depths[index] {
            let block = weights.at(format_args!("blocks.{index}.{block}"));
            let spatial = block.at("spatial_block");
            x = stage.block(graph, &spatial, &x, |graph, y| {
                stage.window_attention(graph, &spatial, y)
            })?;
            let channel = block.at("channel_block");
            x = stage.block(graph, &channel, &x, |graph, y| {
                stage.channel_attention(graph, &channel, y)
            })?;
        }
    }
    Ok(x)
}

/// The convolution that begins a stage, and its norm before or after.
fn patch_embedding<'a>(
    graph: &mut Graph<'a>,
    config: &VisionConfig,
    stage: usize,
    weights: &Weights<'a>,
    grid: Grid,
    x: &Value,
) -> Result<Value> {
    let dim = config.embed_dim[stage];
    let input_dim = if stage == 0 {
        config.in_channels
    } else {
        config.embed_dim[stage - 1]
    };
    let prenorm = config.patch_prenorm[stage];
    let kernel = config.patch_size[stage];
    // Pixels come with channels first; so does what the first stage's own norm does not look at.
    let mut x = x.clone();
    if prenorm {
        if stage == 0 {
            x = channels_last(graph, &x, grid, input_dim);
        }
        x = layer_norm(graph, &weights.at("norm"), input_dim, &x)?;
    }
    if stage > 0 || prenorm {
        x = channels_first(graph, &x, grid, input_dim);
    }
    let conv = weights.at("conv");
    let geometry = Conv2d {
        kernel,
        stride: config.patch_stride[stage],
        padding: config.patch_padding[stage],
        groups: 1,
    };
    let weight = conv.tensor("weight", &[dim, input_dim, kernel, kernel])?;
    let bias = conv.tensor("bias", &[dim])?;
    let x = graph.conv2d(&x, &weight, &bias, geometry);
    let x = channels_last(graph, &x, config.stage_grid(stage, grid), dim);
    if prenorm {
        Ok(x)
    } else {
        layer_norm(graph, &weights.at("norm"), dim, &x)
    }
}

impl Stage {
    /// A spatial or a channel block: they differ in their attention.
    fn block<'a>(
        &self,
        graph: &mut Graph<'a>,
        weights: &Weights<'a>,
        x: &Value,
        attend: impl FnOnce(&mut Graph<'a>, &Value) -> Result<Value>,
    ) -> Result<Value> {
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
            &y,
        )?;
        Ok(graph.add(&x, &y))
    }

    /// `conv(x) + x` as one convolution: one is added to the kernel's centre.
    fn depthwise<'a>(&self, graph: &mut Graph<'a>, weights: &Weights<'a>, x: &Value) -> Result<Value> {
        let kernel = DEPTHWISE_KERNEL;
        let weight = weights.tensor("weight", &[self.dim, 1, kernel, kernel])?;
        let bias = weights.tensor("bias", &[self.dim])?;
        let weight = weight.map("plus_identity", |mut kernels| {
            let area = DEPTHWISE_KERNEL * DEPTHWISE_KERNEL;
            kernels
                .iter_mut()
                .skip(area / 2)
                .step_by(area)
                .for_each(|centre| *centre += 1.0);
            kernels
        });
        let x = channels_first(graph, x, self.grid, self.dim);
        let geometry = Conv2d {
            kernel,
            stride: 1,
            padding: kernel / 2,
            groups: self.dim,
        };
        let x = graph.conv2d(&x, &weight, &bias, geometry);
        Ok(channels_last(graph, &x, self.grid, self.dim))
    }

    /// Query (scaled), key and value projections.
    fn qkv<'a>(&self, weights: &Weights<'a>, scale: f64) -> Result<[Linear<'a>; 3]> {
        let parts = ["query", "key", "value"];
        let [query, key, value] =
            Linear::load_stacked(&weights.at("qkv"), self.dim, self.dim, self.qkv_bias, parts)?;
        Ok([query.scaled(scale as f32), key, value])
    }

    /// Multi-head self-attention among the tokens of each window.
    fn window_attention<'a>(&self, graph: &mut Graph<'a>, weights: &Weights<'a>, x: &Value) -> Result<Value> {
        let weights = weights.at("window_attn");
        let head_size = self.dim / self.heads;
        let projections = self.qkv(&weights, (head_size as f64).powf(-0.5))?;
        let x = self.partition(graph, x);
        let [query, key, value] = projections.map(|projection| {
            let x = projection.apply(graph, &x);
            split_heads(graph, &x, self.heads, head_size)
        });
        let x = attention(graph, &query, &key, &value, None);
        let x = merge_heads(graph, &x, self.dim);
        let x = Linear::load(&weights.at("proj"), self.dim, self.dim, true)?.apply(graph, &x);
        Ok(self.merge(graph, &x))
    }

    /// The grid, filled up to whole windows.
    fn padded(&self) -> Grid {
        let up = |size: usize| size.next_multiple_of(self.window);
        Grid {
            height: up(self.grid.height),
            width: up(self.grid.width),
        }
    }

    /// `[batch, tokens, dim]` to `[batch · windows, window², dim]`. A row of a window is contiguous and moves
    /// whole.
    fn partition(&self, graph: &mut Graph<'_>, x: &Value) -> Value {
        let (grid, padded, window) = (self.grid, self.padded(), self.window);
        let mut x = x.clone();
        if padded != grid {
            x = graph.reshape(&x, &[0, grid.height as i64, grid.width as i64, self.dim as i64]);
            let after = [
                0,
                (padded.height - grid.height) as i64,
                (padded.width - grid.width) as i64,
                0,
            ];
            x = graph.pad_end(&x, &after);
        }
        let (rows, columns) = ((padded.height / window) as i64, (padded.width / window) as i64);
        let x = graph.reshape(
            &x,
            &[-1, rows, window as i64, columns, (window * self.dim) as i64],
        );
        let x = graph.transpose(&x, &[0, 1, 3, 2, 4]);
        graph.reshape(&x, &[-1, (window * window) as i64, self.dim as i64])
    }

    /// The reverse of [`partition`](Self::partition).
    fn merge(&self, graph: &mut Graph<'_>, x: &Value) -> Value {
        let (grid, padded, window) = (self.grid, self.padded(), self.window);
        let (rows, columns) = ((padded.height / window) as i64, (padded.width / window) as i64);
        let x = graph.reshape(x, &[-1, rows, columns, window as i64, (window * self.dim) as i64]);
        let mut x = graph.transpose(&x, &[0, 1, 3, 2, 4]);
        if padded != grid {
            x = graph.reshape(
                &x,
                &[-1, padded.height as i64, padded.width as i64, self.dim as i64],
            );
            let (starts, ends) = (
                graph.ints(&[0, 0]),
                graph.ints(&[grid.height as i64, grid.width as i64]),
            );
            x = graph.slice(&x, &starts, &ends, &[1, 2]);
        }
        graph.reshape(&x, &[-1, grid.tokens() as i64, self.dim as i64])
    }

    /// Self-attention among the channels of each group: tokens play the part of features.
    fn channel_attention<'a>(
        &self,
        graph: &mut Graph<'a>,
        weights: &Weights<'a>,
        x: &Value,
    ) -> Result<Value> {
        let weights = weights.at("channel_attn");
        let projections = self.qkv(&weights, (self.grid.tokens() as f64).powf(-0.5))?;
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
    }
}

/// `[batch, tokens, dim]` to `[batch, dim, height, width]`.
fn channels_first(graph: &mut Graph<'_>, x: &Value, grid: Grid, dim: usize) -> Value {
    let x = graph.reshape(x, &[0, grid.height as i64, grid.width as i64, dim as i64]);
    graph.transpose(&x, &[0, 3, 1, 2])
}

/// `[batch, dim, height, width]` to `[batch, tokens, dim]`.
fn channels_last(graph: &mut Graph<'_>, x: &Value, grid: Grid, dim: usize) -> Value {
    let x = graph.transpose(x, &[0, 2, 3, 1]);
    graph.reshape(&x, &[0, grid.tokens() as i64, dim as i64])
}
