//! Attention, by single operators where the target has them.

use florence2_layout::operators::{BFLOAT16_ATTENTION, CACHED_SELF_ATTENTION, CROSS_ATTENTION};

use super::{Linear, LinearInput};
use crate::graph::{Attribute, Function, Graph, KeyMask, Value};
use crate::target::Operators;
use florence2_layout::onnx::AttributeType;

const HEADS: &str = "heads";

/// Multi-head self-attention in each sequence of `x`, `[batch, tokens, heads · size]`; the result has the same shape.
/// `mask`, for standard operators only, is added to the scores.
///
/// On a CPU, quantized projections permit products of [`BFLOAT16_ATTENTION`].
pub(crate) fn self_attention<'a>(
    graph: &mut Graph<'a>,
    [query, key, value]: [Linear<'a>; 3],
    heads: usize,
    x: &Value,
    mask: Option<&Value>,
) -> Value {
    let dim = query.outputs();
    let operators = graph.lowering.operators;
    let query = match operators {
        Operators::Standard => query.scaled(((dim / heads) as f64).powf(-0.5) as f32),
        // The attention operators of these targets scale the scores themselves.
        Operators::Contrib | Operators::Custom => query,
    };
    let projections = [query, key, value];
    let x = LinearInput::new(graph, &projections, x);
    let projected = projections
        .each_ref()
        .map(|projection| x.apply(graph, projection));
    let heads_attribute = Attribute::Int(heads as i64);
    match operators {
        Operators::Standard => {
            let [query, key, value] = projected.map(|x| split_heads(graph, &x, heads, dim / heads));
            let x = scaled_dot_product(graph, [&query, &key, &value], mask);
            merge_heads(graph, &x, dim)
        }
        Operators::Custom if !projections.iter().any(|layer| layer.is_fp32(graph)) => {
            let [x] = graph.call(&SELF, projected.each_ref(), &[(HEADS, heads_attribute)]);
            x
        }
        Operators::Contrib | Operators::Custom => {
            graph.multi_head_attention(projected.each_ref(), None, heads_attribute)
        }
    }
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

/// `softmax(q kᵀ + mask) v`, by head: `[.., queries, size]`, `[.., keys, size]` twice, and a mask that broadcasts to
/// `[.., queries, keys]`. The query is already scaled; leading axes broadcast, so that queries of many rows can share the
/// keys and values of one.
pub(crate) fn scaled_dot_product(
    graph: &mut Graph<'_>,
    [query, key, value]: [&Value; 3],
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

/// Multi-head attention of queries `[images, queries, heads · size]` to keys and values `[images, heads, capacity, size]`.
/// Masked keys have no influence as long as they are finite.
pub(crate) fn cross_attention(
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

/// The mask of all but the first `lengths` (int32, `[images]`) of each image's `keys`, `[images, heads, capacity, size]`, as
/// a bias for `queries`, `[images, queries, heads · size]`: not all GPUs' kernels take lengths.
pub(crate) fn bias_of_lengths(
    graph: &mut Graph<'_>,
    lengths: &Value,
    [queries, keys]: [&Value; 2],
) -> KeyMask {
    let capacity = graph.int32_dim(keys, 2);
    let capacity = graph.squeeze(&capacity);
    let (zero, one) = (graph.int32(0), graph.int32(1));
    let positions = graph.range([&zero, &capacity, &one]);
    let lengths = graph.unsqueeze(lengths, &[1]);
    let mask = graph.greater(&lengths, &positions);
    let bias = additive_mask(graph, &mask);
    let (one, queries) = (graph.ints(&[1]), graph.dim(queries, 1));
    let shape = graph.concat(&[&one, &one, &queries, &one], 0);
    KeyMask::Bias(graph.expand(&bias, &shape))
}

/// A mask of ones and zeros, `[batch, keys]`, as a term of scores, `[batch, 1, 1, keys]`: 0 and the least float. (Minus
/// infinity would turn rows without any key into NaN.)
pub(crate) fn additive_mask(graph: &mut Graph<'_>, mask: &Value) -> Value {
    let mask = graph.cast_to_float(mask);
    let mask = graph.unsqueeze(&mask, &[1, 2]);
    let (one, least) = (graph.scalar(1.0), graph.scalar(f32::MIN));
    let masked = graph.sub(&one, &mask);
    graph.mul(&masked, &least)
}

/// The outputs of [`CACHED_SELF_ATTENTION`] for its inputs, with the limits of
/// [`group_query_attention`](Graph::group_query_attention) on sizes and rows where ONNX Runtime's operator is used.
pub(crate) fn cached_self_attention(graph: &mut Graph<'_>, inputs: [&Value; 5], heads: usize) -> [Value; 3] {
    let heads = Attribute::Int(heads as i64);
    match graph.lowering.operators {
        Operators::Custom => graph.call(&CACHED_SELF, inputs, &[(HEADS, heads)]),
        Operators::Standard | Operators::Contrib => graph.group_query_attention(inputs, heads),
    }
}

const SELF: Function<3, 1> = Function {
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
