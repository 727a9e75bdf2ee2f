//! The layers that DaViT and BART share, under the names that PyTorch gives them.

use crate::checkpoint::Weights;
use crate::error::{Error, Result};
use crate::graph::{Graph, Value};
use crate::target::Operators;
use crate::tensor::Tensor;

/// `x · W + b`.
pub(crate) struct Linear<'a> {
    /// Path of the module.
    pub(super) module: String,
    /// `[in, out]`.
    pub(super) weight: Tensor<'a>,
    pub(super) bias: Option<Tensor<'a>>,
}

impl<'a> Linear<'a> {
    /// Reads `weight` (`[out, in]` in the checkpoint) and, where there is one, `bias`.
    pub(crate) fn load(weights: &Weights<'a>, inputs: usize, outputs: usize, bias: bool) -> Result<Self> {
        let [linear] = Self::load_stacked(weights, inputs, outputs, bias, [""])?;
        Ok(linear)
    }

    /// Reads several projections of the same size that the checkpoint keeps as one matrix, one above the other.
    pub(crate) fn load_stacked<const PARTS: usize>(
        weights: &Weights<'a>,
        inputs: usize,
        outputs: usize,
        bias: bool,
        parts: [&str; PARTS],
    ) -> Result<[Self; PARTS]> {
        let weight = weights.tensor("weight", &[PARTS * outputs, inputs])?;
        let bias = if bias {
            Some(weights.tensor("bias", &[PARTS * outputs])?)
        } else {
            None
        };
        let part = |tensor: &Tensor<'a>, index: usize| {
            let range = index * outputs..(index + 1) * outputs;
            if PARTS == 1 {
                tensor.clone()
            } else {
                tensor.clone().rows(parts[index], range)
            }
        };
        Ok(std::array::from_fn(|index| Linear {
            module: weights.module(parts[index]),
            weight: part(&weight, index).transposed(),
            bias: bias.as_ref().map(|bias| part(bias, index)),
        }))
    }

    /// Several layers of the same input and size as one, `name`: their results are side by side.
    pub(crate) fn load_side_by_side(
        weights: &Weights<'a>,
        name: &str,
        parts: &[&str],
        inputs: usize,
        outputs: usize,
    ) -> Result<Self> {
        let load = |tensor: &str, shape: &[usize]| -> Result<Tensor<'a>> {
            let parts = parts.iter().map(|part| weights.at(part).tensor(tensor, shape));
            let name = weights.at(name).path(tensor);
            Ok(Tensor::stacked(name, parts.collect::<Result<_>>()?))
        };
        Ok(Linear {
            module: weights.path(name),
            weight: load("weight", &[outputs, inputs])?.transposed(),
            bias: Some(load("bias", &[outputs])?),
        })
    }

    /// The layer whose result is `factor` times this one's.
    pub(crate) fn scaled(self, factor: f32) -> Self {
        Linear {
            module: self.module,
            weight: self.weight.scaled(factor),
            bias: self.bias.map(|bias| bias.scaled(factor)),
        }
    }

    pub(crate) fn apply(&self, graph: &mut Graph<'a>, x: &Value) -> Value {
        graph.within(&self.module, |graph| {
            let weight = graph.weight(&self.weight);
            let product = graph.matmul(x, &weight);
            match &self.bias {
                Some(bias) => {
                    let bias = graph.weight(bias);
                    graph.add(&product, &bias)
                }
                None => product,
            }
        })
    }
}

/// `LayerNorm` over the last axis, of width `dim`.
pub(crate) fn layer_norm<'a>(
    graph: &mut Graph<'a>,
    weights: &Weights<'a>,
    dim: usize,
    x: &Value,
) -> Result<Value> {
    let module = weights.module("");
    let [weight, bias] = layer_norm_weights(weights, dim)?;
    Ok(graph.within(&module, |graph| graph.layer_norm(x, &weight, &bias)))
}

/// A `LayerNorm`'s weight and bias, `[dim]` each.
pub(crate) fn layer_norm_weights<'a>(weights: &Weights<'a>, dim: usize) -> Result<[Tensor<'a>; 2]> {
    Ok([weights.tensor("weight", &[dim])?, weights.tensor("bias", &[dim])?])
}

/// `fc2(activation(fc1(x)))`.
pub(crate) fn mlp<'a>(
    graph: &mut Graph<'a>,
    weights: &Weights<'a>,
    dim: usize,
    hidden: usize,
    activation: Activation,
    operators: Operators,
    x: &Value,
) -> Result<Value> {
    let x = Linear::load(&weights.at("fc1"), dim, hidden, true)?.apply(graph, x);
    let x = graph.within(&weights.module("activation"), |graph| {
        activation.apply(graph, operators, &x)
    });
    Ok(Linear::load(&weights.at("fc2"), hidden, dim, true)?.apply(graph, &x))
}

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

    pub(super) fn apply(self, graph: &mut Graph<'_>, operators: Operators, x: &Value) -> Value {
        match self {
            Activation::Gelu | Activation::GeluTanh if operators != Operators::Standard => {
                graph.gelu(x, self == Activation::GeluTanh)
            }
            Activation::Gelu => {
                // In this form ONNX Runtime finds it and runs it as one operator.
                let scaled = {
                    let sqrt2 = graph.scalar(std::f32::consts::SQRT_2);
                    graph.div(x, &sqrt2)
                };
                let erf = graph.unary("Erf", &scaled);
                half_x_times_one_plus(graph, x, &erf)
            }
            Activation::GeluTanh => {
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
            Activation::Relu => graph.unary("Relu", x),
            Activation::Silu => {
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

/// `[batch, tokens, heads · size]` to `[batch, heads, tokens, size]`.
pub(crate) fn split_heads(graph: &mut Graph<'_>, x: &Value, heads: usize, size: usize) -> Value {
    let x = graph.reshape(x, &[0, 0, heads as i64, size as i64]);
    graph.transpose(&x, &[0, 2, 1, 3])
}

/// `[batch, heads, tokens, size]` to `[batch, tokens, heads · size]`.
pub(crate) fn merge_heads(graph: &mut Graph<'_>, x: &Value, dim: usize) -> Value {
    let x = graph.transpose(x, &[0, 2, 1, 3]);
    graph.reshape(&x, &[0, 0, dim as i64])
}

/// `softmax(q kᵀ + mask) v`, by head: `[.., queries, size]`, `[.., keys, size]` twice, and a mask that
/// broadcasts to `[.., queries, keys]`. The query comes scaled; leading axes broadcast, so that queries of many
/// rows can share the keys and values of one.
pub(crate) fn attention(
    graph: &mut Graph<'_>,
    query: &Value,
    key: &Value,
    value: &Value,
    mask: Option<&Value>,
) -> Value {
    let key = graph.transpose(key, &[0, 1, 3, 2]);
    let mut scores = graph.matmul(query, &key);
    if let Some(mask) = mask {
        scores = graph.add(&scores, mask);
    }
    let probabilities = graph.softmax(&scores);
    graph.matmul(&probabilities, value)
}
