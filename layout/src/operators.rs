//! ONNX operators of this project. A graph that uses one defines it as an ONNX function of standard operators: a runtime that
//! has a kernel for the operator runs the kernel, any other runs the function.
//!
//! An operator's kernel in the engine, its entry here and its function in the exporter must change together.

/// The domain of this project's operators.
pub const DOMAIN: &str = "florence2";
/// The version of the domain.
pub const VERSION: i64 = 1;

/// A 3×3 depthwise convolution of tokens in image order, followed by layer normalization of its result.
///
/// Inputs: tokens `[batch, height·width, channels]`, weight `[channels, 1, 3, 3]`, bias, scale and shift (`[channels]`
/// each). Attributes: `grid` (height and width), `channels`, `epsilon`. Outputs: the convolution and its normalisation,
/// both shaped as the tokens.
pub const DEPTHWISE_CONV_LAYER_NORM: &str = "DepthwiseConvLayerNorm";

/// Attention of a few queries per image to keys and values that they share.
///
/// Inputs: query `[images, queries, heads · size]`, key and value `[images, heads, capacity, size]`, lengths (int32,
/// `[images]`): the number of an image's keys, 1 or more. Attribute: `heads`. Output:
/// `softmax(query · keyᵀ / √size) · value` for each head, shaped as the query.
pub const CROSS_ATTENTION: &str = "CrossAttention";

/// Causal self-attention of new tokens to themselves and to the tokens of their row whose keys and values are cached.
///
/// Inputs: query, key and value of the new tokens side by side, `[rows, tokens, 3 · heads · size]`; caches of keys and
/// values, `[rows, heads, capacity, size]` each; each row's last position (int32, `[rows]`); the length of the longest row,
/// new tokens included (int32, `[1]`). Attribute: `heads`. Outputs: `softmax(query · keyᵀ / √size) · value` for each head,
/// `[rows, tokens, heads · size]`, and the caches with the new tokens' keys and values: updated in place if input and output
/// are bound to the same memory.
pub const CACHED_SELF_ATTENTION: &str = "CachedSelfAttention";

/// Self-attention whose products may be computed in bfloat16 (8 significant bits) with sums in float32. For graphs
/// quantized to 8 or 4 bits, whose other operators are less accurate.
///
/// Inputs: query, key and value, `[batch, tokens, heads · size]` each. Attribute: `heads`. Output:
/// `softmax(query · keyᵀ / √size) · value` for each head, shaped as the query.
pub const BFLOAT16_ATTENTION: &str = "Bfloat16Attention";

/// Attention between the channels of each group, with the tokens as features.
///
/// Inputs: query, key and value, `[batch, tokens, groups · size]` each. Attribute: `groups`. Output:
/// `value · softmax(queryᵀ · key / √tokens)ᵀ` for each group, shaped as the query; the softmax is over the key's channels.
pub const CHANNEL_ATTENTION: &str = "ChannelAttention";

/// The exact Gaussian error linear unit, `x · Φ(x)`, of one tensor of any shape.
pub const EXACT_GELU: &str = "ExactGelu";
