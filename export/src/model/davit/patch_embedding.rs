//! The convolution that begins a stage, and its norm.

use super::stage::{Stage, channels_first, channels_last};
use crate::checkpoint::Weights;
use crate::error::Result;
use crate::graph::{Graph, Value};
use crate::layers::layer_norm;

impl Stage {
    /// The input of the stage, pixels `[batch, channels, height, width]` for the first and tokens for the others, to its
    /// tokens; `tower` has `convs.{stage}`.
    pub(super) fn patch_embedding<'a>(
        &self,
        graph: &mut Graph<'a>,
        tower: &Weights<'a>,
        x: &Value,
    ) -> Result<Value> {
        let weights = tower.at(format_args!("convs.{}", self.index));
        let (conv, norm) = (weights.at("conv"), weights.at("norm"));
        let kernel = self.patch.geometry.kernel;
        let weight = conv.tensor("weight", &[self.dim, self.input_dim, kernel, kernel])?;
        let bias = conv.tensor("bias", &[self.dim])?;
        graph.within(&weights.module(""), |graph| {
            let mut x = x.clone();
            if self.patch.prenorm {
                if self.index == 0 {
                    x = channels_last(graph, &x, self.input_grid, self.input_dim);
                }
                x = layer_norm(graph, &norm, self.input_dim, &x)?;
            }
            x = if self.convolves_in_integers(graph, &conv) {
                self.integer_convolution(graph, &conv.module(""), &weight, &bias, &x)
            } else {
                // Pixels come with channels first.
                if self.index > 0 || self.patch.prenorm {
                    x = channels_first(graph, &x, self.input_grid, self.input_dim);
                }
                let x = graph.conv2d(&x, &weight, &bias, self.patch.geometry);
                channels_last(graph, &x, self.grid, self.dim)
            };
            if !self.patch.prenorm {
                x = layer_norm(graph, &norm, self.dim, &x)?;
            }
            Ok(x)
        })
    }
}
