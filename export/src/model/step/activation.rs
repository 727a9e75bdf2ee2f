//! Activation functions as single operators, where there is one.

use florence2_layout::operators::{DOMAIN, EXACT_GELU, VERSION};

use crate::graph::{Function, Graph, Value};
use crate::model::layers::Activation;
use crate::precisions::Precisions;
use crate::target::{Operators, Precision};

/// The activation of `x`, which the layer `module` gives.
///
/// In floats, ONNX Runtime adds the layer's bias in the same pass, if the operator is its own.
pub(super) fn activation(
    graph: &mut Graph<'_>,
    precisions: &Precisions<'_>,
    module: &str,
    activation: Activation,
    x: &Value,
) -> Value {
    match activation {
        Activation::Gelu if precisions.of(module) != Precision::Fp32 => {
            let [x] = graph.call(&OPERATOR, [x], &[]);
            x
        }
        _ => activation.apply(graph, Operators::Own, x),
    }
}

const OPERATOR: Function<1, 1> = Function {
    domain: DOMAIN,
    version: VERSION,
    name: EXACT_GELU,
    inputs: ["x"],
    attributes: &[],
    outputs: ["y"],
    body: |graph, [x]| [graph.gelu(&x, false)],
};
