//! Custom operators for ONNX Runtime's CPU provider.
//!
//! A graph that uses one contains its definition as an ONNX function of standard operators
//! ([`florence2_layout::operators`] has the names), which ONNX Runtime runs if the operator is unknown. This engine
//! registers a kernel for it, which computes it in a single pass over memory. Kernels are written for vectors of any
//! width: [`pulp`] selects the widest that the CPU has at run time. The bfloat16 operator is registered only if the
//! CPU has bfloat16 instructions. Kernels run on the session's threads.
//!
//! An operator's Rust kernel, its name in [`florence2_layout::operators`] and its ONNX function in the exporter change
//! together. Each operator has a file; [`tensors`], [`query_key_value`], [`parallel`] and [`shared_attention`] (attention of a
//! head) are shared.

#[cfg(target_arch = "x86_64")]
mod bfloat16;
#[cfg(target_arch = "x86_64")]
mod bfloat16_attention;
mod cached_self_attention;
mod channel_attention;
mod cross_attention;
mod custom;
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
use custom::Registration;
use depthwise_conv_layer_norm::DepthwiseConvLayerNorm;
use exact_gelu::ExactGelu;

/// Returns all operators, for a session; `None` if the CPU has no vectors that [`pulp`] supports, since ONNX Runtime's own
/// operators are faster then.
///
/// # Errors
/// Errors of ONNX Runtime.
pub(crate) fn domain() -> ort::Result<Option<OperatorDomain>> {
    if matches!(Arch::new(), Arch::Scalar) {
        return Ok(None);
    }
    let domain = OperatorDomain::new(DOMAIN)?
        .add(Registration::<DepthwiseConvLayerNorm>::new())?
        .add(Registration::<CrossAttention>::new())?
        .add(Registration::<CachedSelfAttention>::new())?
        .add(Registration::<ChannelAttention>::new())?
        .add(Registration::<ExactGelu>::new())?;
    // On other CPUs, ONNX Runtime's attention is as fast as a custom one.
    #[cfg(target_arch = "x86_64")]
    if bfloat16::is_supported() {
        return domain.add(Registration::<Bfloat16Attention>::new()).map(Some);
    }
    Ok(Some(domain))
}
