//! Operators of our own that graphs may use, each with its meaning in the graph as an ONNX function of standard
//! operators: a runtime that knows the operator runs its kernel, any other the function.

/// The domain of the operators.
pub const DOMAIN: &str = "florence2";
/// The version of the domain.
pub const VERSION: i64 = 1;

/// A 3×3 depthwise convolution of tokens in image order, and the layer normalisation of its result.
///
/// Inputs: tokens `[batch, height·width, channels]`, weight `[channels, 1, 3, 3]`, bias, scale and shift (`[channels]`
/// each). Attributes: `grid` (height and width), `channels`, `epsilon`. Outputs: the convolution and its normalisation,
/// both shaped as the tokens.
pub const DEPTHWISE_CONV_LAYER_NORM: &str = "DepthwiseConvLayerNorm";

/// Attention of a few queries of each image to keys and values that all of them share.
///
/// Inputs: query `[images, queries, heads · size]`, key and value `[images, heads, capacity, size]`, lengths (int32,
/// `[images]`): how many of an image's keys there are, 1 or more. Attribute: `heads`. Output:
/// `softmax(query · keyᵀ / √size) · value` for each head, shaped as the query.
pub const CROSS_ATTENTION: &str = "CrossAttention";

/// Causal self-attention of new tokens to those before them in their row, whose keys and values are kept in caches.
///
/// Inputs: query, key and value of the new tokens side by side, `[rows, tokens, 3 · heads · size]`; caches of keys and
/// values, `[rows, heads, capacity, size]` each; each row's last position (int32, `[rows]`); the length of the longest row,
/// new tokens included (int32, `[1]`). Attribute: `heads`. Outputs: `softmax(query · keyᵀ / √size) · value` for each head,
/// `[rows, tokens, heads · size]`, and the caches with the new tokens in their places: in the same memory, where input and
/// output are bound to the same.
pub const CACHED_SELF_ATTENTION: &str = "CachedSelfAttention";

/// Attention among the tokens of each sequence, whose products may be of bfloat16: of numbers with 8 significant bits,
/// summed as 32-bit floats. For graphs of fewer bits, in which it is the most exact part.
///
/// Inputs: query, key and value, `[batch, tokens, heads · size]` each. Attribute: `heads`. Output:
/// `softmax(query · keyᵀ / √size) · value` for each head, shaped as the query.
pub const BFLOAT16_ATTENTION: &str = "Bfloat16Attention";

/// Attention among the channels of each group, whose features are the tokens.
///
/// Inputs: query, key and value, `[batch, tokens, groups · size]` each. Attribute: `groups`. Output:
/// `value · softmax(queryᵀ · key / √tokens)ᵀ` for each group, shaped as the query; the softmax is over the key's channels.
pub const CHANNEL_ATTENTION: &str = "ChannelAttention";

/// The exact Gaussian error linear unit, `x · Φ(x)`, of one tensor of any shape.
pub const EXACT_GELU: &str = "ExactGelu";
