//! Attention as single operators: ONNX Runtime's, or ours.

use florence2_layout::operators::{
    BFLOAT16_ATTENTION, CACHED_SELF_ATTENTION, CROSS_ATTENTION, DOMAIN, VERSION,
};

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

/// What [`CACHED_SELF_ATTENTION`] gives of its inputs.
///
/// For runtimes that do not know it, the size of a head must be a multiple of 8; and with several tokens, either nothing may
/// be in the caches yet, or there may be one row only.
pub(super) fn cached_self_attention(graph: &mut Graph<'_>, inputs: [&Value; 5], heads: usize) -> [Value; 3] {
    graph.call(&CACHED_SELF, inputs, &[(HEADS, Attribute::Int(heads as i64))])
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

const CACHED_SELF: Function<5, 3> = Function {
    domain: DOMAIN,
    version: VERSION,
    name: CACHED_SELF_ATTENTION,
    inputs: [
        "query_key_value",
        "past_key",
        "past_value",
        "last_positions",
        "longest",
    ],
    attributes: &[HEADS],
    outputs: ["attended", "present_key", "present_value"],
    body: |graph, inputs| graph.group_query_attention(inputs.each_ref(), HEADS),
};
