//! A stage's dimensions, and the parts that it is made of in every target.

use super::super::layers::{Activation, Linear};
use crate::checkpoint::Weights;
use crate::config::VisionConfig;
use crate::error::Result;
use crate::graph::{Conv2d, Graph, Value};
use crate::image_size::{Grid, ImageSize};
use crate::tensor::Tensor;

/// Kernel of the depthwise convolutions.
const DEPTHWISE_KERNEL: usize = 3;

/// One stage: all its blocks have the same size.
pub(in crate::model) struct Stage {
    pub(in crate::model) index: usize,
    /// What goes into its first convolution.
    pub(in crate::model) input_grid: Grid,
    pub(in crate::model) input_dim: usize,
    pub(in crate::model) patch: Patch,
    pub(in crate::model) grid: Grid,
    pub(in crate::model) dim: usize,
    /// Number of blocks.
    pub(in crate::model) depth: usize,
    pub(in crate::model) heads: usize,
    pub(in crate::model) groups: usize,
    pub(in crate::model) mlp_dim: usize,
    pub(in crate::model) window: usize,
    pub(in crate::model) qkv_bias: bool,
    pub(in crate::model) activation: Activation,
}

/// The convolution that begins a stage.
pub(in crate::model) struct Patch {
    pub(in crate::model) geometry: Conv2d,
    /// Whether the norm comes before the convolution (else after it).
    pub(in crate::model) prenorm: bool,
}

impl Stage {
    /// Every stage, for images of this size.
    pub(in crate::model) fn all(config: &VisionConfig, image: ImageSize) -> Result<Vec<Self>> {
        let activation =
            Activation::from_config("vision_config.activation_function", &config.activation_function)?;
        let mut grid = Grid {
            height: image.height,
            width: image.width,
        };
        let mut input_dim = config.in_channels;
        let mut stages = Vec::new();
        for (index, &dim) in config.embed_dim.iter().enumerate() {
            let input_grid = grid;
            grid = config.stage_grid(index, grid);
            stages.push(Stage {
                index,
                input_grid,
                input_dim,
                patch: Patch {
                    geometry: Conv2d {
                        kernel: config.patch_size[index],
                        stride: config.patch_stride[index],
                        padding: config.patch_padding[index],
                        groups: 1,
                    },
                    prenorm: config.patch_prenorm[index],
                },
                grid,
                dim,
                depth: config.depths[index],
                heads: config.num_heads[index],
                groups: config.num_groups[index],
                mlp_dim: config.mlp_dim(dim),
                window: config.window_size,
                qkv_bias: config.qkv_bias,
                activation,
            });
            input_dim = dim;
        }
        Ok(stages)
    }

    /// The weights of a block, below those of the tower.
    pub(in crate::model) fn weights<'a>(&self, tower: &Weights<'a>, block: usize) -> Weights<'a> {
        tower.at(format_args!("blocks.{}.{block}", self.index))
    }

    /// Weight and bias of a depthwise convolution that is `conv(x) + x`: one is added to the kernel's centre.
    pub(in crate::model) fn depthwise_weights<'a>(&self, weights: &Weights<'a>) -> Result<[Tensor<'a>; 2]> {
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
        Ok([weight, bias])
    }

    /// `conv(x) + x`, as one convolution.
    pub(super) fn depthwise<'a>(
        &self,
        graph: &mut Graph<'a>,
        weights: &Weights<'a>,
        x: &Value,
    ) -> Result<Value> {
        let kernel = DEPTHWISE_KERNEL;
        let [weight, bias] = self.depthwise_weights(weights)?;
        graph.within(&weights.module(""), |graph| {
            let x = channels_first(graph, x, self.grid, self.dim);
            let geometry = Conv2d {
                kernel,
                stride: 1,
                padding: kernel / 2,
                groups: self.dim,
            };
            let x = graph.conv2d(&x, &weight, &bias, geometry);
            Ok(channels_last(graph, &x, self.grid, self.dim))
        })
    }

    /// Query, key and value projections.
    pub(in crate::model) fn qkv<'a>(&self, weights: &Weights<'a>) -> Result<[Linear<'a>; 3]> {
        let parts = ["query", "key", "value"];
        Linear::load_stacked(&weights.at("qkv"), self.dim, self.dim, self.qkv_bias, parts)
    }
}

/// `[batch, tokens, dim]` to `[batch, dim, height, width]`.
pub(super) fn channels_first(graph: &mut Graph<'_>, x: &Value, grid: Grid, dim: usize) -> Value {
    let x = graph.reshape(x, &[0, grid.height as i64, grid.width as i64, dim as i64]);
    graph.transpose(&x, &[0, 3, 1, 2])
}

/// `[batch, dim, height, width]` to `[batch, tokens, dim]`.
pub(super) fn channels_last(graph: &mut Graph<'_>, x: &Value, grid: Grid, dim: usize) -> Value {
    let x = graph.transpose(x, &[0, 2, 3, 1]);
    graph.reshape(&x, &[0, grid.tokens() as i64, dim as i64])
}
