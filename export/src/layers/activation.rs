//! Activation functions.

use florence2_layout::dtypes::Dtype;
use florence2_layout::operators::EXACT_GELU;

use crate::error::{Error, Result};
use crate::graph::{Function, Graph, Value};
use crate::target::Operators;

/// An activation function, as transformers' `ACT2FN` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Activation {
    /// `x · Φ(x)`, with the error function.
    Gelu,
    /// GELU's approximation by tanh.
    GeluTanh,
    Relu,
    /// `x · sigmoid(x)`.
    Silu,
}

impl Activation {
    /// The function that the setting `key` names.
    pub(crate) fn from_config(key: &'static str, name: &str) -> Result<Self> {
        match name {
            "gelu" => Ok(Activation::Gelu),
            "gelu_new" | "gelu_fast" | "gelu_pytorch_tanh" => Ok(Activation::GeluTanh),
            "relu" => Ok(Activation::Relu),
            "silu" | "swish" => Ok(Activation::Silu),
            _ => Err(Error::Config {
                key,
                reason: format!("{name:?} is not supported; gelu, gelu_new, relu and silu are"),
            }),
        }
    }

    /// The activation of `x`, the output of the linear layer `layer`.
    pub(super) fn apply(self, graph: &mut Graph<'_>, layer: &str, x: &Value) -> Value {
        match (self, graph.lowering.operators) {
            // In 32-bit floats, ONNX Runtime's own operator adds the layer's bias in the same pass.
            (Activation::Gelu, Operators::Custom) if graph.lowering.dtypes.of(layer) != Dtype::Fp32 => {
                let [x] = graph.call(&EXACT, [x], &[]);
                x
            }
            (Activation::Gelu | Activation::GeluTanh, Operators::Contrib | Operators::Custom) => {
                graph.gelu(x, self == Activation::GeluTanh)
            }
            (Activation::Gelu, Operators::Standard) => {
                // ONNX Runtime fuses nodes of this form into one operator.
                let scaled = {
                    let sqrt2 = graph.scalar(std::f32::consts::SQRT_2);
                    graph.div(x, &sqrt2)
                };
                let erf = graph.unary("Erf", &scaled);
                half_x_times_one_plus(graph, x, &erf)
            }
            (Activation::GeluTanh, Operators::Standard) => {
                // √(2/π) · (x + 0.044715 x³)
                let factor = graph.scalar(0.044715);
                let scale = graph.scalar((2.0 / std::f64::consts::PI).sqrt() as f32);
                let square = graph.mul(x, x);
                let cube = graph.mul(&square, x);
                let cube = graph.mul(&cube, &factor);
                let sum = graph.add(x, &cube);
                let inner = graph.mul(&sum, &scale);
                let tanh = graph.unary("Tanh", &inner);
                half_x_times_one_plus(graph, x, &tanh)
            }
            (Activation::Relu, _) => graph.unary("Relu", x),
            (Activation::Silu, _) => {
                let sigmoid = graph.unary("Sigmoid", x);
                graph.mul(x, &sigmoid)
            }
        }
    }
}

/// `x · (1 + y) · 0.5`.
fn half_x_times_one_plus(graph: &mut Graph<'_>, x: &Value, y: &Value) -> Value {
    let (one, half) = (graph.scalar(1.0), graph.scalar(0.5));
    let sum = graph.add(y, &one);
    let product = graph.mul(x, &sum);
    graph.mul(&product, &half)
}

const EXACT: Function<1, 1> = Function {
    name: EXACT_GELU,
    inputs: ["x"],
    attributes: &[],
    outputs: ["y"],
    body: |graph, [x]| [graph.gelu(&x, false)],
};
