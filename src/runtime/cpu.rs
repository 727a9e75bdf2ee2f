//! Features of the CPU.

/// Returns `true` if ONNX Runtime's products of unsigned with signed bytes can saturate here: without VNNI, x86 CPUs add
/// pairs of them in 16 bits (`vpmaddubsw`).
pub(crate) fn byte_products_saturate() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        !(std::is_x86_feature_detected!("avx512vnni") || std::is_x86_feature_detected!("avxvnni"))
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        false
    }
}
