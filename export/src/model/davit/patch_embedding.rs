//! The convolution that begins a stage, and its norm.

use super::super::layers::layer_norm;
use super::Stage;
use super::stage::{channels_first, channels_last};
use crate::checkpoint::Weights;
use crate::error::Result;
use crate::graph::{Graph, Value};

impl Stage {
    /// The first stage takes pixels, `[batch, channels, height, width]`; the others the tokens of the one before them.
    /// `tower` has `convs.{stage}`.
    pub(in crate::model) fn patch_embedding<'a>(
        &self,
        graph: &mut Graph<'a>,
        tower: &Weights<'a>,
        x: &Value,
    ) -> Result<Value> {
        let weights = tower.at(format_args!("convs.{}", self.index));
        let prenorm = self.patch.prenorm;
        graph.within(&weights.module(""), |graph| {
            // Pixels come with channels first; so does what the first stage's own norm does not look at.
            let mut x = x.clone();
            if prenorm {
                if self.index == 0 {
                    x = channels_last(graph, &x, self.input_grid, self.input_dim);
                }
                x = layer_norm(graph, &weights.at("norm"), self.input_dim, &x)?;
            }
            if self.index > 0 || prenorm {
                x = channels_first(graph, &x, self.input_grid, self.input_dim);
            }
            let conv = weights.at("conv");
            let kernel = self.patch.geometry.kernel;
            let weight = conv.tensor("weight", &[self.dim, self.input_dim, kernel, kernel])?;
            let bias = conv.tensor("bias", &[self.dim])?;
            let x = graph.conv2d(&x, &weight, &bias, self.patch.geometry);
            let x = channels_last(graph, &x, self.grid, self.dim);
            if prenorm {
                Ok(x)
            } else {
                layer_norm(graph, &weights.at("norm"), self.dim, &x)
            }
        })
    }
}
