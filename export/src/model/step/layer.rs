//! What the layers of BART's encoder and decoder have in common.

use super::super::layers::{Activation, Linear, layer_norm};
use super::activation::activation;
use super::blocks::block_linear;
use super::linear::linear;
use crate::checkpoint::Weights;
use crate::config::TextConfig;
use crate::error::Result;
use crate::graph::{Graph, Value};
use crate::precisions::Precisions;

/// How many rows go through the layers at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RowCount {
    /// The tokens of whole sequences.
    Many,
    /// The new tokens of a step.
    Few,
}

/// A layer of either side.
pub(super) struct Layer<'a, 'c> {
    pub(super) weights: Weights<'a>,
    pub(super) config: &'c TextConfig,
    pub(super) precisions: &'c Precisions<'c>,
    pub(super) activation: Activation,
    pub(super) row_count: RowCount,
}

impl<'a> Layer<'a, '_> {
    /// One of the projections of an attention, which keep the width.
    pub(super) fn projection(&self, name: &str) -> Result<Linear<'a>> {
        let dim = self.config.d_model;
        Linear::load(&self.weights.at(name), dim, dim, true)
    }

    /// The result of one of the projections.
    pub(super) fn project(&self, graph: &mut Graph<'a>, name: &str, x: &Value) -> Result<Value> {
        Ok(self.linear(graph, self.projection(name)?, x))
    }

    pub(super) fn linear(&self, graph: &mut Graph<'a>, layer: Linear<'a>, x: &Value) -> Value {
        match self.row_count {
            RowCount::Few => block_linear(graph, self.precisions, &layer, x),
            RowCount::Many => {
                let [y] = linear(graph, self.precisions, [layer], x);
                y
            }
        }
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
        let dim = self.config.d_model;
        let fc1 = Linear::load(&self.weights.at("fc1"), dim, hidden, true)?;
        let fc2 = Linear::load(&self.weights.at("fc2"), hidden, dim, true)?;
        let module = fc1.module.clone();
        let x = self.linear(graph, fc1, x);
        let x = activation(graph, self.precisions, &module, self.activation, &x);
        Ok(self.linear(graph, fc2, &x))
    }
}
