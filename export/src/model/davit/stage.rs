//! The dimensions of a stage.

use florence2_layout::image_size::ImageSize;

use crate::checkpoint::Weights;
use crate::config::Grid;
use crate::config::VisionConfig;
use crate::error::Result;
use crate::graph::{Conv2d, Graph, Value};
use crate::layers::{Activation, Linear};

/// A stage, whose blocks all have the same size.
pub(super) struct Stage {
    pub(super) index: usize,
    /// Grid of the input, which the first convolution takes.
    pub(super) input_grid: Grid,
    pub(super) input_dim: usize,
    pub(super) patch: Patch,
    pub(super) grid: Grid,
    pub(super) dim: usize,
    /// Number of blocks.
    pub(super) depth: usize,
    pub(super) heads: usize,
    pub(super) groups: usize,
    pub(super) mlp_dim: usize,
    pub(super) window: usize,
    pub(super) qkv_bias: bool,
    pub(super) activation: Activation,
}

/// The convolution that begins a stage.
pub(super) struct Patch {
    pub(super) geometry: Conv2d,
    /// Whether the norm comes before the convolution (else after it).
    pub(super) prenorm: bool,
}

impl Stage {
    /// All stages for images of this size.
    pub(super) fn all(config: &VisionConfig, image: ImageSize) -> Result<Vec<Self>> {
        let activation =
            Activation::from_config("vision_config.activation_function", &config.activation_function)?;
        let mut grid = Grid::from(image);
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

    /// The projections of an attention: query, key and value, and that of its output.
    pub(super) fn projections<'a>(&self, weights: &Weights<'a>) -> Result<([Linear<'a>; 3], Linear<'a>)> {
        let parts = ["query", "key", "value"];
        let qkv = Linear::load_stacked(&weights.at("qkv"), self.dim, self.dim, self.qkv_bias, parts)?;
        let output = Linear::load(&weights.at("proj"), self.dim, self.dim, true)?;
        Ok((qkv, output))
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
