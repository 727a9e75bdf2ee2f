//! Attention among the channels of each group: tokens play the part of features.

use florence2_layout::operators::{CHANNEL_ATTENTION, DOMAIN, VERSION};

use super::gram;
use crate::checkpoint::Weights;
use crate::error::Result;
use crate::graph::{Attribute, Function, FusedMatMul, Graph, Value};
use crate::model::davit::Stage;
use crate::model::layers::Linear;
use crate::model::step::linear::linear;
use crate::precisions::Precisions;
use crate::target::Precision;
use florence2_layout::onnx::{AttributeType, DataType};

/// `[batch, tokens, dim]` to the same; `weights` has `qkv` and `proj`.
pub(super) fn channel_attention<'a>(
    graph: &mut Graph<'a>,
    precisions: &Precisions<'_>,
    stage: &Stage,
    weights: &Weights<'a>,
    x: &Value,
) -> Result<Value> {
    let qkv = stage.qkv(weights)?;
    let output = Linear::load(&weights.at("proj"), stage.dim, stage.dim, true)?;
    let of_floats = |layer: &Linear<'_>| precisions.of(&layer.module) == Precision::Fp32;
    if qkv.iter().chain([&output]).all(of_floats) && gram::pays(stage) {
        return Ok(graph.within(&weights.path("gram"), |graph| {
            gram::channel_attention(graph, stage, qkv, output, x)
        }));
    }
    let [query, key, value] = linear(graph, precisions, qkv, x);
    let x = graph.within(&weights.path("groups"), |graph| {
        let groups = [(GROUPS, Attribute::Int(stage.groups as i64))];
        let [x] = graph.call(&OPERATOR, [&query, &key, &value], &groups);
        x
    });
    let [x] = linear(graph, precisions, [output], &x);
    Ok(x)
}

const GROUPS: &str = "groups";

const OPERATOR: Function<3, 1> = Function {
    domain: DOMAIN,
    version: VERSION,
    name: CHANNEL_ATTENTION,
    inputs: ["query", "key", "value"],
    attributes: &[GROUPS],
    outputs: ["attended"],
    body: |graph, inputs| [by_group(graph, inputs)],
};

/// The operator's meaning.
fn by_group(graph: &mut Graph<'_>, inputs: [Value; 3]) -> Value {
    let groups = [("value_int", Attribute::Parameter(GROUPS, AttributeType::Int))];
    let groups = graph.node("Constant", &[], &groups);
    let [kept, one, rest] = [&[0, 0][..], &[1], &[-1]].map(|ints| constant(graph, ints));
    let groups = graph.node("Reshape", &[&groups, &one], &[]);
    let grouped_shape = graph.concat(&[&kept, &groups, &rest], 0);
    let shape = graph.unary("Shape", &inputs[0]);
    let tokens = graph.node("Gather", &[&shape, &one], &[]);
    let tokens = graph.cast(&tokens, DataType::Float);
    let root = graph.unary("Sqrt", &tokens);
    // [batch, groups, tokens, channels of a group]
    let [query, key, value] = inputs.map(|x| {
        let x = graph.node("Reshape", &[&x, &grouped_shape], &[]);
        graph.transpose(&x, &[0, 2, 1, 3])
    });
    let transposed = FusedMatMul {
        transpose_a: true,
        ..FusedMatMul::default()
    };
    let scores = graph.fused_matmul(&query, &key, transposed);
    let scores = graph.div(&scores, &root);
    let probabilities = graph.softmax(&scores);
    let transposed = FusedMatMul {
        transpose_b: true,
        ..FusedMatMul::default()
    };
    let x = graph.fused_matmul(&value, &probabilities, transposed);
    let x = graph.transpose(&x, &[0, 2, 1, 3]);
    graph.node("Reshape", &[&x, &shape], &[])
}

fn constant(graph: &mut Graph<'_>, values: &[i64]) -> Value {
    graph.node("Constant", &[], &[("value_ints", Attribute::Ints(values))])
}
