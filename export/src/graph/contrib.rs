//! Operators of ONNX Runtime's own domain, `com.microsoft`, as methods. Their definitions are in its
//! `docs/ContribOperators.md`.

use super::{Attribute, Graph, Value};
use crate::target::CONTRIB_DOMAIN;

/// The operand of [`Graph::fused_matmul`] that is transposed in its last two axes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transposed {
    Left,
    Right,
}

/// The keys that [`Graph::multi_head_attention`] attends to.
pub(crate) enum KeyMask {
    /// The number of first keys to attend to, int32 `[batch]`.
    Lengths(Value),
    /// A term of their scores, `[batch, 1, queries, keys]`: 0, or the least float for keys to ignore.
    Bias(Value),
}

impl Graph<'_> {
    /// Adds a node of ONNX Runtime's own operators, with one output.
    pub(crate) fn contrib(
        &mut self,
        op: &str,
        inputs: &[&Value],
        attributes: &[(&str, Attribute<'_>)],
    ) -> Value {
        let [output] = self.nodes(CONTRIB_DOMAIN, op, inputs, attributes);
        output
    }

    /// `alpha · a · b`, of batches of matrices, one of them transposed.
    pub(crate) fn fused_matmul(&mut self, a: &Value, b: &Value, transposed: Transposed, alpha: f32) -> Value {
        let transposes = |operand| Attribute::Int((transposed == operand).into());
        let attributes = [
            ("transA", transposes(Transposed::Left)),
            ("transB", transposes(Transposed::Right)),
            ("alpha", Attribute::Float(alpha)),
        ];
        self.contrib("FusedMatMul", &[a, b], &attributes)
    }

    /// [`CACHED_SELF_ATTENTION`](florence2_layout::operators::CACHED_SELF_ATTENTION) of its inputs.
    ///
    /// The length of the longest row may be an upper bound, since each row's length follows from its last position. It is
    /// read in CPU memory on any device.
    ///
    /// The size of a head must be a multiple of 8. Several tokens at a time need empty caches or a single row.
    pub(crate) fn group_query_attention(
        &mut self,
        [query_key_value, keys, values, last_positions, longest]: [&Value; 5],
        heads: Attribute<'_>,
    ) -> [Value; 3] {
        let attributes = [("num_heads", heads.clone()), ("kv_num_heads", heads)];
        let packed = Value::absent();
        let inputs = [
            query_key_value,
            &packed,
            &packed,
            keys,
            values,
            last_positions,
            longest,
        ];
        self.nodes(CONTRIB_DOMAIN, "GroupQueryAttention", &inputs, &attributes)
    }

    /// `softmax(q kᵀ / √size) v`, by head: query `[batch, queries, heads · size]`; key and value `[batch, keys,
    /// heads · size]`, or `[batch, heads, keys, size]`. Masked keys have no influence as long as they are finite.
    pub(crate) fn multi_head_attention(
        &mut self,
        [query, key, value]: [&Value; 3],
        mask: Option<&KeyMask>,
        heads: Attribute<'_>,
    ) -> Value {
        let attributes = [
            ("num_heads", heads),
            // Added to the scores of padding. The default, -10000, does not suffice against large scores.
            ("mask_filter_value", Attribute::Float(f32::MIN)),
        ];
        let absent = Value::absent();
        let mut inputs = vec![query, key, value];
        match mask {
            Some(KeyMask::Lengths(lengths)) => inputs.extend([&absent, lengths]),
            Some(KeyMask::Bias(bias)) => inputs.extend([&absent, &absent, bias]),
            None => {}
        }
        self.contrib("MultiHeadAttention", &inputs, &attributes)
    }
}
