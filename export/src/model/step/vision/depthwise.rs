//! The depthwise convolutions, with the residual connection around them and the norm behind them: one operator.

use florence2_layout::operators::{DEPTHWISE_CONV_LAYER_NORM, DOMAIN, VERSION};

use crate::checkpoint::Weights;
use crate::error::Result;
use crate::graph::{Attribute, Function, Graph, LAYER_NORM_EPSILON, Value};
use crate::model::davit::Stage;
use crate::model::layers::layer_norm_weights;
use florence2_layout::onnx::AttributeType;

/// `conv(x) + x`, and that normalised, both `[batch, tokens, dim]` as `x`; `names` are those of the convolution and of
/// the norm among `weights`.
pub(super) fn depthwise_conv_residual_norm<'a>(
    graph: &mut Graph<'a>,
    stage: &Stage,
    weights: &Weights<'a>,
    [conv, norm]: [&str; 2],
    x: &Value,
) -> Result<[Value; 2]> {
    let [weight, bias] = stage.depthwise_weights(&weights.at(conv))?;
    let [scale, shift] = layer_norm_weights(&weights.at(norm), stage.dim)?;
    let [weight, bias, scale, shift] = [weight, bias, scale, shift].map(|tensor| graph.weight(&tensor));
    let attributes = [
        (
            "grid",
            Attribute::Ints(&[stage.grid.height as i64, stage.grid.width as i64]),
        ),
        ("channels", Attribute::Int(stage.dim as i64)),
        ("epsilon", Attribute::Float(LAYER_NORM_EPSILON)),
    ];
    let inputs = [x, &weight, &bias, &scale, &shift];
    Ok(graph.within(&weights.path(conv), |graph| {
        graph.call(&OPERATOR, inputs, &attributes)
    }))
}

const OPERATOR: Function<5, 2> = Function {
    domain: DOMAIN,
    version: VERSION,
    name: DEPTHWISE_CONV_LAYER_NORM,
    inputs: ["tokens", "weight", "bias", "scale", "shift"],
    attributes: &["grid", "channels", "epsilon"],
    outputs: ["convolved", "normalized"],
    body: depthwise_conv_layer_norm,
};

/// The operator's meaning. ONNX Runtime takes the two transpositions into those that its convolution needs anyway.
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
    let image = graph.node("Reshape", &[&tokens, &image_shape], &[]);
    let image = graph.transpose(&image, &[0, 3, 1, 2]);
    let conv = [
        ("group", Attribute::Parameter("channels", AttributeType::Int)),
        ("kernel_shape", Attribute::Ints(&[3, 3])),
        ("pads", Attribute::Ints(&[1, 1, 1, 1])),
    ];
    let image = graph.node("Conv", &[&image, &weight, &bias], &conv);
    let image = graph.transpose(&image, &[0, 2, 3, 1]);
    let token_shape = graph.node("Shape", &[&tokens], &[]);
    let convolved = graph.node("Reshape", &[&image, &token_shape], &[]);
    let norm = [
        ("axis", Attribute::Int(-1)),
        ("epsilon", Attribute::Parameter("epsilon", AttributeType::Float)),
    ];
    let normalized = graph.node("LayerNormalization", &[&convolved, &scale, &shift], &norm);
    [convolved, normalized]
}
