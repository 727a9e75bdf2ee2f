//! Operators of ONNX Runtime's own domain, `com.microsoft`, as methods. Their definitions are in its
//! `docs/ContribOperators.md`.

use super::{Attribute, Graph, Value};
use crate::quantize::BlockFormat;

/// The domain of ONNX Runtime's own operators.
pub(crate) const CONTRIB_DOMAIN: &str = "com.microsoft";

/// What [`Graph::dynamic_quantize`] gives: u8 values, and the scale and zero point that they are counted from.
pub(crate) struct Quantized {
    pub(crate) values: Value,
    pub(crate) scale: Value,
    pub(crate) zero_point: Value,
}

/// A weight `[in, out]` of signed bytes.
pub(crate) struct QuantizedWeight {
    /// i8 `[in, out]`.
    pub(crate) values: Value,
    /// f32 `[out]`.
    pub(crate) scales: Value,
    /// i8 `[out]`. ONNX Runtime takes none for zeros, but turns weights into unsigned ones, where its kernels need it
    /// to be exact (`session.x64quantprecision`), only if they are there.
    pub(crate) zero_points: Value,
}

/// A weight `[out, in]` by blocks of its rows.
pub(crate) struct BlockQuantizedWeight {
    pub(crate) format: BlockFormat,
    /// Size of the matrix, `[out, in]`.
    pub(crate) shape: [usize; 2],
    /// u8 `[out, blocks, bytes of a block]`.
    pub(crate) values: Value,
    /// f32 `[out, blocks]`.
    pub(crate) scales: Value,
}

/// What [`Graph::fused_matmul`] does beside the product.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct FusedMatMul {
    pub(crate) transpose_a: bool,
    pub(crate) transpose_b: bool,
    /// What the product is multiplied by; 1 if there is nothing.
    pub(crate) alpha: Option<f32>,
}

/// Which keys [`Graph::multi_head_attention`] looks at.
pub(crate) enum KeyMask {
    /// As many, from the first on: int32, `[batch]`.
    Lengths(Value),
    /// What is added to their scores, `[batch, 1, queries, keys]`: 0, or the least float where they are not to be looked
    /// at.
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

    /// `x` as u8, with one scale and zero point for the whole tensor, found when it runs. (The operator is ONNX's own;
    /// it stands here beside those that take its result.)
    pub(crate) fn dynamic_quantize(&mut self, x: &Value) -> Quantized {
        let [values, scale, zero_point] = self.nodes("", "DynamicQuantizeLinear", &[x], &[]);
        Quantized {
            values,
            scale,
            zero_point,
        }
    }

    /// `x · weight + bias` in integers, quantising `x` as [`dynamic_quantize`](Self::dynamic_quantize) does.
    pub(crate) fn dynamic_quantize_matmul(
        &mut self,
        x: &Value,
        weight: &QuantizedWeight,
        bias: Option<&Value>,
    ) -> Value {
        let inputs = [x, &weight.values, &weight.scales, &weight.zero_points];
        let inputs: Vec<&Value> = inputs.into_iter().chain(bias).collect();
        self.contrib("DynamicQuantizeMatMul", &inputs, &[])
    }

    /// `x · weight + bias` in integers, of what is quantised already.
    pub(crate) fn matmul_integer_to_float(
        &mut self,
        x: &Quantized,
        weight: &QuantizedWeight,
        bias: Option<&Value>,
    ) -> Value {
        let inputs = [
            &x.values,
            &weight.values,
            &x.scale,
            &weight.scales,
            &x.zero_point,
            &weight.zero_points,
        ];
        let inputs: Vec<&Value> = inputs.into_iter().chain(bias).collect();
        self.contrib("MatMulIntegerToFloat", &inputs, &[])
    }

    /// `x · weightᵀ + bias` in integers: each row of `x` is quantised by itself, by blocks as the weight is.
    pub(crate) fn matmul_by_blocks(
        &mut self,
        x: &Value,
        weight: &BlockQuantizedWeight,
        bias: Option<&Value>,
    ) -> Value {
        let products_of_bytes = ("accuracy_level", Attribute::Int(4));
        self.matmul_nbits(x, weight, bias, [products_of_bytes])
    }

    /// `x · weightᵀ` in floats, of a weight that is quantised by blocks.
    pub(crate) fn matmul_of_blocks(&mut self, x: &Value, weight: &BlockQuantizedWeight) -> Value {
        self.matmul_nbits(x, weight, None, [])
    }

    fn matmul_nbits<'s, const MORE: usize>(
        &mut self,
        x: &Value,
        weight: &BlockQuantizedWeight,
        bias: Option<&Value>,
        more: [(&str, Attribute<'s>); MORE],
    ) -> Value {
        let [outputs, inputs] = weight.shape;
        let attributes: Vec<(&str, Attribute<'s>)> = [
            ("K", Attribute::Int(inputs as i64)),
            ("N", Attribute::Int(outputs as i64)),
            ("bits", Attribute::Int(weight.format.bits() as i64)),
            ("block_size", Attribute::Int(weight.format.block_size() as i64)),
        ]
        .into_iter()
        .chain(more)
        .collect();
        let absent = Value::absent();
        let mut inputs = vec![x, &weight.values, &weight.scales];
        if let Some(bias) = bias {
            // Between them: zero points (the middle, if there are none), and an order of the inputs.
            inputs.extend([&absent, &absent, bias]);
        }
        self.contrib("MatMulNBits", &inputs, &attributes)
    }

    /// `x · weight`, of a weight `[in, out]` in 4-bit floats: their numbers, two in a byte (u8, `[values / 2]`), and what
    /// each block of them is multiplied by (`[blocks]`), over the flattened transpose.
    pub(crate) fn matmul_bnb4(
        &mut self,
        x: &Value,
        [values, scales]: [&Value; 2],
        [inputs, outputs]: [usize; 2],
        block_size: usize,
    ) -> Value {
        let attributes = [
            ("K", Attribute::Int(inputs as i64)),
            ("N", Attribute::Int(outputs as i64)),
            ("block_size", Attribute::Int(block_size as i64)),
            // NF4.
            ("quant_type", Attribute::Int(1)),
        ];
        self.contrib("MatMulBnb4", &[x, values, scales], &attributes)
    }

    /// `alpha · a · b`, of batches of matrices, either of them transposed (in their last two axes) if need be.
    pub(crate) fn fused_matmul(&mut self, a: &Value, b: &Value, how: FusedMatMul) -> Value {
        let attributes = [
            ("transA", Attribute::Int(how.transpose_a.into())),
            ("transB", Attribute::Int(how.transpose_b.into())),
            ("alpha", Attribute::Float(how.alpha.unwrap_or(1.0))),
        ];
        self.contrib("FusedMatMul", &[a, b], &attributes)
    }

    /// [`CACHED_SELF_ATTENTION`](florence2_layout::operators::CACHED_SELF_ATTENTION), of its inputs.
    ///
    /// The length of the longest row may be more than that, if a row alone has several tokens: each row's own length is
    /// known from its last position. It is read in the processor's memory, wherever the rest is.
    ///
    /// The size of a head must be a multiple of 8. With several tokens, either nothing may be in the caches yet, or
    /// there may be one row only.
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
    /// heads · size]`, or `[batch, heads, keys, size]`. With a mask, what the other keys hold has no influence as long as it
    /// is finite.
    pub(crate) fn multi_head_attention(
        &mut self,
        [query, key, value]: [&Value; 3],
        mask: Option<&KeyMask>,
        heads: Attribute<'_>,
    ) -> Value {
        let attributes = [
            ("num_heads", heads),
            // Added to the scores of padding. The default, -10000, is no match for large ones.
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
