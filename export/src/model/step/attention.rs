//! Attention as single operators: ONNX Runtime's, or ours, which stand for them.

use florence2_layout::operators::{
    BFLOAT16_ATTENTION, CACHED_SELF_ATTENTION, CROSS_ATTENTION, DOMAIN, VERSION,
};

use crate::graph::{Attribute, Function, Graph, KeyMask, Value};
use crate::model::bart::additive_mask;
use crate::model::layers::Linear;
use crate::precisions::Precisions;
use crate::target::{Operators, Precision};
use florence2_layout::onnx::AttributeType;

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

/// Of queries `[images, queries, heads · size]` to keys and values, `[images, heads, capacity, size]`, by head; what those
/// hold that the mask leaves out has no influence as long as it is finite.
pub(super) fn cross_attention(
    graph: &mut Graph<'_>,
    [query, key, value]: [&Value; 3],
    mask: &KeyMask,
    heads: usize,
) -> Value {
    let heads = Attribute::Int(heads as i64);
    match mask {
        KeyMask::Lengths(lengths) => {
            let [attended] = graph.call(&CROSS, [query, key, value, lengths], &[(HEADS, heads)]);
            attended
        }
        KeyMask::Bias(_) => graph.multi_head_attention([query, key, value], Some(mask), heads),
    }
}

/// The mask that leaves the first `lengths` (int32, `[images]`) of each image's `keys`, `[images, heads, capacity, size]`,
/// as a bias for `queries`, `[images, queries, heads · size]`: not all GPUs' kernels take lengths.
pub(super) fn bias_of_lengths(
    graph: &mut Graph<'_>,
    lengths: &Value,
    [queries, keys]: [&Value; 2],
) -> KeyMask {
    let capacity = graph.int32_dim(keys, 2);
    let capacity = graph.squeeze(&capacity);
    let (zero, one) = (graph.int32(0), graph.int32(1));
    let places = graph.range([&zero, &capacity, &one]);
    let lengths = graph.unsqueeze(lengths, &[1]);
    let is_there = graph.greater(&lengths, &places);
    let bias = additive_mask(graph, &is_there);
    let (one, queries) = (graph.ints(&[1]), graph.dim(queries, 1));
    let shape = graph.concat(&[&one, &one, &queries, &one], 0);
    KeyMask::Bias(graph.expand(&bias, &shape))
}

/// What [`CACHED_SELF_ATTENTION`] gives of its inputs.
///
/// Where ONNX Runtime's operator is in its place, what [`group_query_attention`](Graph::group_query_attention) says of sizes
/// and rows holds.
pub(super) fn cached_self_attention(
    graph: &mut Graph<'_>,
    operators: Operators,
    inputs: [&Value; 5],
    heads: usize,
) -> [Value; 3] {
    let heads = Attribute::Int(heads as i64);
    match operators {
        Operators::Own => graph.call(&CACHED_SELF, inputs, &[(HEADS, heads)]),
        Operators::Standard | Operators::Contrib => graph.group_query_attention(inputs, heads),
    }
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
        [graph.multi_head_attention([&query, &key, &value], Some(&KeyMask::Lengths(lengths)), heads)]
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
    body: |graph, inputs| {
        let heads = Attribute::Parameter(HEADS, AttributeType::Int);
        graph.group_query_attention(inputs.each_ref(), heads)
    },
};
