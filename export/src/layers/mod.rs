//! The layers that DaViT and BART share, under PyTorch's names. A layer is written once; the target's
//! [`Lowering`](crate::lowering::Lowering) chooses its operators.

mod activation;
mod attention;
mod linear;

use crate::checkpoint::Weights;
use crate::error::Result;
use crate::graph::{Graph, Value};
use crate::tensor::Tensor;
pub(crate) use activation::Activation;
pub(crate) use attention::{
    additive_mask, bias_of_lengths, cached_self_attention, cross_attention, merge_heads, scaled_dot_product,
    self_attention, split_heads,
};
pub(crate) use linear::{Linear, LinearInput};

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

/// `fc2(activation(fc1(x)))`, from width `dim` to `hidden` and back.
pub(crate) fn mlp<'a>(
    graph: &mut Graph<'a>,
    weights: &Weights<'a>,
    [dim, hidden]: [usize; 2],
    activation: Activation,
    x: &Value,
) -> Result<Value> {
    let fc1 = Linear::load(&weights.at("fc1"), dim, hidden, true)?;
    let fc2 = Linear::load(&weights.at("fc2"), hidden, dim, true)?;
    let x = fc1.apply(graph, x);
    let x = graph.within(&weights.module("activation"), |graph| {
        activation.apply(graph, &fc1.module, &x)
    });
    Ok(fc2.apply(graph, &x))
}
