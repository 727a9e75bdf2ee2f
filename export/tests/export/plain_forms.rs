//! The files and operators of the `plain` target in each dtype. The graphs' results are checked by
//! `tests/reference/check_export.py`, their quantized weights by `check_quantized.py`, and the loss of accuracy by the
//! engine's tests of deployments.

use florence2_export::{Dtype, Error, ExportOptions, GraphFile, Target, export, export_graph_bytes};

use crate::common::graph_bytes::{base_like, count, graph};

fn options(dtype: Dtype) -> ExportOptions {
    ExportOptions::default().with_dtype(dtype)
}

/// Whether a layer's product is a `MatMul`, whose name is that of the node, of its output and of an input.
fn is_in_floats(graph: &[u8], module: &str) -> bool {
    count(graph, &format!("{module}/MatMul_")) == 3
}

#[test]
fn each_dtype_has_six_graphs_of_its_name() {
    let names = [
        "",
        "_int8",
        "_quantized",
        "_uint8",
        "_q4",
        "_bnb4",
        "_fp16",
        "_q4f16",
    ];
    assert_eq!(Target::Plain.dtypes().len(), names.len());
    for (dtype, suffix) in Target::Plain.dtypes().iter().zip(names) {
        let folder = tempfile::tempdir().unwrap();
        let report = export(&base_like(), folder.path(), &options(*dtype)).unwrap();
        assert!(report.unused_tensors.is_empty(), "{:?}", report.unused_tensors);
        for graph in GraphFile::PLAIN {
            let path = folder.path().join(format!("onnx/{}{suffix}.onnx", graph.name()));
            let bytes = std::fs::read(path).unwrap();
            // Graphs of standard operators only declare no other domain.
            let contrib = matches!(dtype, Dtype::Q4 | Dtype::Q4F16 | Dtype::Bnb4);
            assert_eq!(
                count(&bytes, "com.microsoft") > 0,
                contrib,
                "{}{suffix}",
                graph.name()
            );
            assert!(count(&bytes, dtype.name()) > 0);
        }
    }
}

#[test]
fn products_use_the_operator_of_the_precision() {
    for (dtype, operator) in [
        (Dtype::Int8, "MatMulInteger"),
        (Dtype::Uint8, "MatMulInteger"),
        (Dtype::Q4, "MatMulNBits"),
        (Dtype::Bnb4, "MatMulBnb4"),
    ] {
        let merged = graph(GraphFile::DecoderModelMerged, &options(dtype));
        // In the branches of cross-attention too, but not for products without a weight.
        for module in ["layers.0.encoder_attn.k_proj", "layers.1.fc1", "lm_head"] {
            assert!(
                count(&merged, &format!("{module}/{operator}_")) > 0,
                "{module} {operator}"
            );
            assert!(!is_in_floats(&merged, module), "{module}");
        }
    }
}

#[test]
fn kept_layers_stay_in_fp32() {
    let fc1 = |stage: usize| format!("blocks.{stage}.0.spatial_block.ffn.fc1");
    for dtype in [Dtype::Int8, Dtype::Q4, Dtype::Bnb4, Dtype::Q4F16] {
        let kept = graph(
            GraphFile::VisionEncoder,
            &options(dtype).with_keep_fp32(["blocks.2"]),
        );
        assert_eq!(
            [2, 3].map(|stage| is_in_floats(&kept, &fc1(stage))),
            [true, false],
            "{}",
            dtype.name()
        );
    }
    // In 16-bit floats, everything in a module is kept, whether it has weights or not.
    let [fp16, kept] = [&[][..], &["channel_attn", "norm1"]].map(|patterns| {
        graph(
            GraphFile::VisionEncoder,
            &options(Dtype::Fp16).with_keep_fp32(patterns.to_vec()),
        )
    });
    assert!(count(&kept, ".float32/Cast") > count(&fp16, ".float32/Cast") + 4);
    let idle = options(Dtype::Fp16).with_keep_fp32(["blocks.40"]);
    assert!(matches!(
        export_graph_bytes(&base_like(), GraphFile::VisionEncoder, &idle),
        Err(Error::KeepFp32 { .. })
    ));
}

#[test]
fn sixteen_bits_are_half_the_size() {
    for file in GraphFile::PLAIN {
        let [fp32, fp16] = [Dtype::Fp32, Dtype::Fp16].map(|dtype| graph(file, &options(dtype)).len());
        // In such a small model, nodes are a large part.
        assert!(fp16 < fp32 * 8 / 10, "{}: {fp16} of {fp32}", file.name());
    }
}

#[test]
fn inputs_in_float16_are_for_graphs_that_compute_in_it() {
    for dtype in [Dtype::Fp32, Dtype::Int8, Dtype::Q4] {
        let options = options(dtype).with_float16_io(true);
        let error = export_graph_bytes(&base_like(), GraphFile::EmbedTokens, &options).unwrap_err();
        assert!(matches!(error, Error::NoFloat16 { .. }), "{error}");
    }
    let q4f16 = graph(GraphFile::DecoderModel, &options(Dtype::Q4F16));
    let throughout = graph(
        GraphFile::DecoderModel,
        &options(Dtype::Q4F16).with_float16_io(true),
    );
    assert!(count(&q4f16, "/Cast") > count(&throughout, "/Cast") + 4);
}
