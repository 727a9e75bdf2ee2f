//! Depthwise convolutions with the residual connection around them and the norm behind them.

use florence2_layout::operators::DEPTHWISE_CONV_LAYER_NORM;

use super::stage::{Stage, channels_first, channels_last};
use crate::checkpoint::Weights;
use crate::error::Result;
use crate::graph::{Attribute, Conv2d, Function, Graph, LAYER_NORM_EPSILON, Value};
use crate::layers::{layer_norm, layer_norm_weights};
use crate::target::Operators;
use crate::tensor::Tensor;
use florence2_layout::onnx::AttributeType;

/// Kernel of the convolutions.
const KERNEL: usize = 3;

impl Stage {
    /// `conv(x) + x` and its norm, both in the shape of `x`, `[batch, tokens, dim]`, by one operator on a CPU; `names` are the
    /// modules of the convolution and the norm among `weights`.
    pub(super) fn depthwise_norm<'a>(
        &self,
        graph: &mut Graph<'a>,
        weights: &Weights<'a>,
        names: [&str; 2],
        x: &Value,
    ) -> Result<[Value; 2]> {
        let [conv, norm] = names.map(|name| weights.at(name));
        let [weight, bias] = self.depthwise_weights(&conv)?;
        if graph.lowering.operators != Operators::Custom {
            let x = graph.within(&conv.module(""), |graph| {
                let x = channels_first(graph, x, self.grid, self.dim);
                let geometry = Conv2d {
                    kernel: KERNEL,
                    stride: 1,
                    padding: KERNEL / 2,
                    groups: self.dim,
                };
                let x = graph.conv2d(&x, &weight, &bias, geometry);
                channels_last(graph, &x, self.grid, self.dim)
            });
            let normed = layer_norm(graph, &norm, self.dim, &x)?;
            return Ok([x, normed]);
        }
        let [scale, shift] = layer_norm_weights(&norm, self.dim)?;
        let [weight, bias, scale, shift] = [weight, bias, scale, shift].map(|tensor| graph.weight(&tensor));
        let grid = [self.grid.height as i64, self.grid.width as i64];
        let attributes = [
            ("grid", Attribute::Ints(&grid)),
            ("channels", Attribute::Int(self.dim as i64)),
            ("epsilon", Attribute::Float(LAYER_NORM_EPSILON)),
        ];
        let inputs = [x, &weight, &bias, &scale, &shift];
        Ok(graph.within(&conv.module(""), |graph| {
            graph.call(&OPERATOR, inputs, &attributes)
        }))
    }

    /// Weight and bias of `conv(x) + x` as one convolution: 1 is added to the centre of each kernel.
    fn depthwise_weights<'a>(&self, weights: &Weights<'a>) -> Result<[Tensor<'a>; 2]> {
        let weight = weights.tensor("weight", &[self.dim, 1, KERNEL, KERNEL])?;
        let bias = weights.tensor("bias", &[self.dim])?;
        let weight = weight.map("plus_identity", |mut kernels| {
            let area = KERNEL * KERNEL;
            let centres = kernels.iter_mut().skip(area / 2).step_by(area);
            centres.for_each(|centre| *centre += 1.0);
            kernels
        });
        Ok([weight, bias])
    }
}

const OPERATOR: Function<5, 2> = Function {
    name: DEPTHWISE_CONV_LAYER_NORM,
    inputs: ["tokens", "weight", "bias", "scale", "shift"],
    attributes: &["grid", "channels", "epsilon"],
    outputs: ["convolved", "normalized"],
    body: depthwise_conv_layer_norm,
};

/// The body of the custom operator, in standard operators. ONNX Runtime merges its two transpositions with the
/// convolution's.
fn depthwise_conv_layer_norm(
    graph: &mut Graph<'_>,
    [tokens, weight, bias, scale, shift]: [Value; 5],
) -> [Value; 2] {
    let [batch, grid, channels] = [
        Attribute::Ints(&[0]),
        Attribute::Parameter("grid", AttributeType::Ints),
        Attribute::Ints(&[-1]),
    ]
    .map(|ints| graph.node("Constant", &[], &[("value_ints", ints)]));
    let image_shape = graph.concat(&[&batch, &grid, &channels], 0);
    let image = graph.reshape_to(&tokens, &image_shape);
    let image = graph.transpose(&image, &[0, 3, 1, 2]);
    let conv = [
        ("group", Attribute::Parameter("channels", AttributeType::Int)),
        ("kernel_shape", Attribute::Ints(&[3, 3])),
        ("pads", Attribute::Ints(&[1, 1, 1, 1])),
    ];
    let image = graph.node("Conv", &[&image, &weight, &bias], &conv);
    let image = graph.transpose(&image, &[0, 2, 3, 1]);
    let token_shape = graph.unary("Shape", &tokens);
    let convolved = graph.reshape_to(&image, &token_shape);
    let norm = [
        ("axis", Attribute::Int(-1)),
        ("epsilon", Attribute::Parameter("epsilon", AttributeType::Float)),
    ];
    let normalized = graph.node("LayerNormalization", &[&convolved, &scale, &shift], &norm);
    [convolved, normalized]
}
