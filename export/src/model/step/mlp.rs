//! The MLPs, by pieces of the sequence.

use super::activation::activation;
use super::linear::linear;
use crate::checkpoint::Weights;
use crate::error::Result;
use crate::graph::{Graph, Value};
use crate::model::layers::{Activation, Linear};
use crate::precisions::Precisions;

/// The two layers of an MLP, `fc2(activation(fc1(x)))`.
pub(super) struct Mlp {
    /// Width of what goes in and comes out.
    pub(super) dim: usize,
    /// Width in between.
    pub(super) hidden: usize,
    pub(super) activation: Activation,
}

impl Mlp {
    /// `[batch, tokens, dim]` to the same; `weights` has `fc1` and `fc2`.
    pub(super) fn apply<'a>(
        &self,
        graph: &mut Graph<'a>,
        precisions: &Precisions<'_>,
        weights: &Weights<'a>,
        x: &Value,
    ) -> Result<Value> {
        let fc1 = Linear::load(&weights.at("fc1"), self.dim, self.hidden, true)?;
        let fc2 = Linear::load(&weights.at("fc2"), self.hidden, self.dim, true)?;
        let module = fc1.module.clone();
        let [x] = linear(graph, precisions, [fc1], x);
        let x = graph.within(&module, |graph| {
            activation(graph, precisions, &module, self.activation, &x)
        });
        let [x] = linear(graph, precisions, [fc2], &x);
        Ok(x)
    }

    /// As [`apply`](Self::apply), for pieces of the sequence one after another, of `pieces` tokens each: what lies
    /// between the layers then fits into the cache, and each piece is quantised on a scale of its own.
    pub(super) fn apply_in_pieces<'a>(
        &self,
        graph: &mut Graph<'a>,
        precisions: &Precisions<'_>,
        weights: &Weights<'a>,
        pieces: &[usize],
        x: &Value,
    ) -> Result<Value> {
        if pieces.len() < 2 {
            return self.apply(graph, precisions, weights, x);
        }
        let parts = graph.split(x, pieces, 1);
        let parts: Vec<Value> = parts
            .iter()
            .map(|part| self.apply(graph, precisions, weights, part))
            .collect::<Result<_>>()?;
        Ok(graph.concat(&parts.iter().collect::<Vec<_>>(), 1))
    }
}
