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
