//! Attention as single operators: ONNX Runtime's, or ours.

use florence2_layout::operators::{BFLOAT16_ATTENTION, CROSS_ATTENTION, DOMAIN, VERSION};

use crate::graph::{Attribute, Function, Graph, Value};
use crate::model::layers::Linear;
use crate::onnx::AttributeType;
use crate::precisions::Precisions;
use crate::target::Precision;

const HEADS: &str = "heads";

/// Among the tokens of each sequence, by head: query, key and value, `[batch, tokens, heads · size]`, to the same.
///
/// Unless it is to be exact, its products may be those of [`BFLOAT16_ATTENTION`].
pub(super) fn self_attention(
    graph: &mut Graph<'_>,
    is_exact: bool,
    [query, key, value]: [&Value; 3],
    heads: usize,
) -> Value {
    if is_exact {
        return graph.multi_head_attention([query, key, value], None, Attribute::Int(heads as i64));
    }
    let [attended] = graph.call(
        &SELF,
        [query, key, value],
        &[(HEADS, Attribute::Int(heads as i64))],
    );
    attended
}

/// Whether one of these layers' results is exact.
pub(super) fn any_exact(precisions: &Precisions<'_>, layers: &[Linear<'_>]) -> bool {
    let is_exact = |layer: &Linear<'_>| precisions.of(&layer.module) == Precision::Fp32;
    layers.iter().any(is_exact)
}

/// Of queries `[images, queries, heads · size]` to the first `lengths` (int32, `[images]`) of keys and values, `[images,
/// heads, capacity, size]`, by head; what the others hold has no influence as long as it is finite.
pub(super) fn cross_attention(
    graph: &mut Graph<'_>,
    [query, key, value]: [&Value; 3],
    lengths: &Value,
    heads: usize,
) -> Value {
    let [attended] = graph.call(
        &CROSS,
        [query, key, value, lengths],
        &[(HEADS, Attribute::Int(heads as i64))],
    );
    attended
}

const SELF: Function<3, 1> = Function {
    domain: DOMAIN,
    version: VERSION,
    name: BFLOAT16_ATTENTION,
    inputs: ["query", "key", "value"],
    attributes: &[HEADS],
    outputs: ["attended"],
    body: |graph, [query, key, value]| {
        let heads = Attribute::Parameter(HEADS, AttributeType::Int);
        [graph.multi_head_attention([&query, &key, &value], None, heads)]
    },
};

const CROSS: Function<4, 1> = Function {
    domain: DOMAIN,
    version: VERSION,
    name: CROSS_ATTENTION,
    inputs: ["query", "key", "value", "lengths"],
    attributes: &[HEADS],
    outputs: ["attended"],
    body: |graph, [query, key, value, lengths]| {
        let heads = Attribute::Parameter(HEADS, AttributeType::Int);
        [graph.multi_head_attention([&query, &key, &value], Some(&lengths), heads)]
    },
};
