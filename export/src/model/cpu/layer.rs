//! What the layers of BART's encoder and decoder have in common.

use super::super::layers::{Activation, Linear, layer_norm};
use super::linear::linear;
use super::mlp::Mlp;
use crate::checkpoint::Weights;
use crate::config::TextConfig;
use crate::error::Result;
use crate::graph::{Graph, Value};
use crate::precisions::Precisions;

/// A layer of either side.
pub(super) struct Layer<'a, 'c> {
    pub(super) weights: Weights<'a>,
    pub(super) config: &'c TextConfig,
    pub(super) precisions: &'c Precisions<'c>,
    pub(super) activation: Activation,
}

impl<'a> Layer<'a, '_> {
    /// One of the projections of an attention, which keep the width.
    pub(super) fn projection(&self, name: &str) -> Result<Linear<'a>> {
        let dim = self.config.d_model;
        Linear::load(&self.weights.at(name), dim, dim, true)
    }

    /// The result of one of the projections.
    pub(super) fn project(&self, graph: &mut Graph<'a>, name: &str, x: &Value) -> Result<Value> {
        let [x] = linear(graph, self.precisions, [self.projection(name)?], x);
        Ok(x)
    }

    /// `norm(x + y)`.
    pub(super) fn residual_norm(
        &self,
        graph: &mut Graph<'a>,
        norm: &str,
        x: &Value,
        y: &Value,
    ) -> Result<Value> {
        let sum = graph.add(x, y);
        layer_norm(graph, &self.weights.at(norm), self.config.d_model, &sum)
    }

    /// `fc2(activation(fc1(x)))`.
    pub(super) fn mlp(&self, graph: &mut Graph<'a>, hidden: usize, x: &Value) -> Result<Value> {
        let mlp = Mlp {
            dim: self.config.d_model,
            hidden,
            activation: self.activation,
        };
        mlp.apply(graph, self.precisions, &self.weights, x)
    }
}
