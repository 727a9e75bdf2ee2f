//! Operators of our own, for ONNX Runtime on the processor.
//!
//! A graph that uses one carries its meaning with it, as an ONNX function of standard operators
//! ([`florence2_layout::operators`] has the names). ONNX Runtime runs that function wherever the operator is unknown;
//! here it is known, and one kernel does the work in a single pass over memory. The kernels are written for vectors of
//! any width: [`pulp`] picks the widest that the processor has, at run time. One is for products of bfloat16, and known only
//! where the processor has them. They run on the session's own threads.
//!
//! One operator a file; what they share is in [`tensors`], [`query_key_value`] and [`parallel`], and attention
//! of a head in [`shared_attention`].

#[cfg(target_arch = "x86_64")]
mod bfloat16;
#[cfg(target_arch = "x86_64")]
mod bfloat16_attention;
mod cached_self_attention;
mod channel_attention;
mod cross_attention;
mod depthwise_conv;
mod depthwise_conv_layer_norm;
mod exact_gelu;
mod exponential;
mod layer_norm;
mod matrix_product;
mod parallel;
mod query_key_value;
#[cfg(test)]
mod reference;
mod shared_attention;
mod tensors;

use florence2_layout::operators::DOMAIN;
use ort::operator::OperatorDomain;
use pulp::Arch;

#[cfg(target_arch = "x86_64")]
use bfloat16_attention::Bfloat16Attention;
use cached_self_attention::CachedSelfAttention;
use channel_attention::ChannelAttention;
use cross_attention::CrossAttention;
use depthwise_conv_layer_norm::DepthwiseConvLayerNorm;
use exact_gelu::ExactGelu;

/// All operators, for a session; none if the processor has no vectors that the kernels could use: ONNX Runtime's own
/// are faster then.
///
/// # Errors
/// Those of ONNX Runtime.
pub(crate) fn domain() -> ort::Result<Option<OperatorDomain>> {
    if matches!(Arch::new(), Arch::Scalar) {
        return Ok(None);
    }
    let domain = OperatorDomain::new(DOMAIN)?
        .add(DepthwiseConvLayerNorm)?
        .add(CrossAttention)?
        .add(CachedSelfAttention)?
        .add(ChannelAttention)?
        .add(ExactGelu)?;
    #[cfg(target_arch = "x86_64")]
    if let Some(operator) = Bfloat16Attention::if_supported() {
        return domain.add(operator).map(Some);
    }
    Ok(Some(domain))
}
