//! Activation functions as single operators, where there is one.

use crate::graph::{Graph, Value};
use crate::model::layers::Activation;

/// The activation of `x`.
pub(super) fn activation(graph: &mut Graph<'_>, activation: Activation, x: &Value) -> Value {
    match activation {
        Activation::Gelu => graph.gelu(x, false),
        Activation::GeluTanh => graph.gelu(x, true),
        Activation::Relu | Activation::Silu => activation.apply(graph, x),
    }
}
