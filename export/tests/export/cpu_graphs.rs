//! The operators in the `cpu` target's graphs. Their results are checked by `tests/reference/check_export.py` and by the
//! engine's tests.

use florence2_export::{Dtype, Error, ExportOptions, GraphFile, Target, export, export_graph_bytes};
use florence2_layout::graphs::MIXED_Q4;

use crate::common::graph_bytes::{count, fixture};

fn options(dtype: Dtype) -> ExportOptions {
    ExportOptions::default()
        .with_target(Target::Cpu)
        .with_dtype(dtype)
}

fn vision_encoder(checkpoint_name: &str, options: &ExportOptions) -> Vec<u8> {
    export_graph_bytes(&fixture(checkpoint_name), GraphFile::VisionEncoder, options).unwrap()
}

fn contains(graph: &[u8], text: &str) -> bool {
    count(graph, text) > 0
}

#[test]
fn each_dtype_has_three_graphs_of_its_name() {
    for (dtype, suffix, precision) in [
        (Dtype::Fp32, "", "fp32"),
        (Dtype::Int8, "_int8", "int8"),
        (Dtype::Q4, "_q4", MIXED_Q4),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let report = export(&fixture("base-like"), folder.path(), &options(dtype)).unwrap();
        assert!(report.unused_tensors.is_empty(), "{:?}", report.unused_tensors);
        for graph in ["vision_encoder", "text_encoder", "decoder_step"] {
            let path = folder.path().join(format!("onnx/{graph}{suffix}.onnx"));
            let bytes = std::fs::read(path).unwrap();
            assert!(contains(&bytes, "com.microsoft"), "{graph}");
            assert!(contains(&bytes, precision), "{graph}");
        }
        let graphs = std::fs::read_dir(folder.path().join("onnx")).unwrap().count();
        assert_eq!(graphs, 3);
    }
}

#[test]
fn layers_multiply_in_integers_except_those_to_keep() {
    let fc1 = |stage: usize, op: &str| format!("blocks.{stage}.0.spatial_block.ffn.fc1/{op}_");
    let int8 = options(Dtype::Int8);
    let quantized = vision_encoder("base-like", &int8);
    let kept = vision_encoder("base-like", &int8.with_keep_fp32(["blocks.3", "convs.1.conv"]));
    for stage in 0..4 {
        assert!(contains(&quantized, &fc1(stage, "DynamicQuantizeMatMul")));
        assert!(!contains(&quantized, &fc1(stage, "MatMul")));
        assert_eq!(contains(&kept, &fc1(stage, "MatMul")), stage == 3);
        assert_eq!(contains(&kept, &fc1(stage, "DynamicQuantizeMatMul")), stage != 3);
    }
    assert!(contains(&quantized, "convs.1.conv/MatMulIntegerToFloat_"));
    assert!(!contains(&kept, "convs.1.conv/MatMulIntegerToFloat_"));
    assert!(contains(&kept, "convs.2.conv/MatMulIntegerToFloat_"));
}

#[test]
fn a_pattern_may_fit_another_graph_but_not_none() {
    let text = options(Dtype::Int8).with_keep_fp32(["encoder.layers.0"]);
    assert_eq!(
        vision_encoder("base-like", &text),
        vision_encoder("base-like", &options(Dtype::Int8))
    );
    let none = options(Dtype::Int8).with_keep_fp32(["blocks.3", "blocks.30"]);
    let error = export_graph_bytes(&fixture("base-like"), GraphFile::VisionEncoder, &none).unwrap_err();
    let message = error.to_string();
    match error {
        Error::KeepFp32 { pattern, .. } => assert_eq!(pattern, "blocks.30"),
        other => panic!("{other:?}"),
    }
    assert!(
        message.contains("model.vision_tower.blocks.*.*.spatial_block.ffn.fc1,"),
        "{message}"
    );
}

#[test]
fn the_vision_side_has_at_least_8_bits() {
    let int8 = vision_encoder("base-like", &options(Dtype::Int8));
    let int4 = vision_encoder("base-like", &options(Dtype::Q4));
    assert_eq!(int8.len(), int4.len());
    // The name of the dtype in the metadata.
    let different = int8.iter().zip(&int4).filter(|(a, b)| a != b).count();
    assert_eq!(different, 1);
}

#[test]
fn windows_are_padded_only_where_they_do_not_divide_the_grid() {
    let divided = vision_encoder("base-like", &options(Dtype::Fp32));
    let padded = vision_encoder("large-like", &options(Dtype::Fp32));
    for op in ["windows/Pad_", "windows/Slice_"] {
        assert!(!contains(&divided, op));
        assert!(contains(&padded, op));
    }
}

#[test]
fn a_dtype_of_another_target_is_an_error_that_lists_the_targets_own() {
    let folder = tempfile::tempdir().unwrap();
    let options = options(Dtype::Bnb4);
    let error = export(&fixture("base-like"), folder.path(), &options).unwrap_err();
    assert!(
        error.to_string().ends_with("its dtypes: fp32, int8, q4"),
        "{error}"
    );
    assert!(matches!(
        error,
        Error::DtypeNotInTarget {
            target: Target::Cpu,
            dtype: Dtype::Bnb4
        }
    ));
    assert!(!folder.path().join("onnx").exists());
}
