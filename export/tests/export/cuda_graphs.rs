//! The operators in the `cuda` target's graphs. Their results are checked by `tests/reference/check_export.py` and by the
//! engine's tests.

use florence2_export::{Dtype, ExportOptions, GraphFile, Target, export};
use florence2_layout::graphs::CACHES_ON_DEVICE;

use crate::common::graph_bytes::{base_like, count, graph};

fn options(dtype: Dtype) -> ExportOptions {
    ExportOptions::default()
        .with_target(Target::Cuda)
        .with_dtype(dtype)
}

#[test]
fn each_precision_has_three_graphs_of_its_name() {
    for (dtype, suffix) in [(Dtype::Fp32, ""), (Dtype::Fp16, "_fp16")] {
        let folder = tempfile::tempdir().unwrap();
        let report = export(&base_like(), folder.path(), &options(dtype)).unwrap();
        assert!(report.unused_tensors.is_empty(), "{:?}", report.unused_tensors);
        for file in GraphFile::FUSED {
            let path = folder.path().join(format!("onnx/{}{suffix}.onnx", file.name()));
            assert!(count(&std::fs::read(path).unwrap(), dtype.name()) > 0);
        }
    }
}

#[test]
fn operators_are_onnx_runtimes() {
    for dtype in [Dtype::Fp32, Dtype::Fp16] {
        for file in GraphFile::FUSED {
            let bytes = graph(file, &options(dtype));
            assert!(count(&bytes, "MultiHeadAttention_") > 0);
            for ours in [
                "DepthwiseConvLayerNorm",
                "CrossAttention",
                "CachedSelfAttention",
                "ChannelAttention",
            ] {
                assert_eq!(count(&bytes, ours), 0, "{} {ours}", file.name());
            }
        }
        let step = graph(GraphFile::DecoderStep, &options(dtype));
        assert!(count(&step, "GroupQueryAttention_") > 0);
        // Nothing is computed on the device that the CPU would have to wait for.
        assert_eq!(count(&step, "ReduceMax"), 0);
    }
}

#[test]
fn only_its_decoder_has_caches_on_the_device() {
    let declares = |file, options: &ExportOptions| count(&graph(file, options), CACHES_ON_DEVICE) > 0;
    let cuda = options(Dtype::Fp16);
    assert!(declares(GraphFile::DecoderStep, &cuda));
    assert!(!declares(GraphFile::TextEncoder, &cuda));
    let cpu = ExportOptions::default().with_target(Target::Cpu);
    assert!(!declares(GraphFile::DecoderStep, &cpu));
}

#[test]
fn caches_are_not_cast() {
    let step = graph(GraphFile::DecoderStep, &options(Dtype::Fp16));
    for cache in ["past_key_values.0.decoder.key", "past_key_values.0.encoder.value"] {
        assert!(count(&step, cache) > 0);
        assert_eq!(count(&step, &format!("{cache}.float16")), 0, "{cache}");
    }
}
