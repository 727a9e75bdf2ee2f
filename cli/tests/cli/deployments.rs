//! Published forms of deployments, run by the program.

use std::fs;

use serde_json::{Value, json};

use crate::program::{copy, exported, florence2, repository, scene};

#[test]
fn precisions_are_exported_beside_each_other_and_chosen_by_dtype() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().to_str().unwrap();
    let checkpoint = repository("models/demo/checkpoint");
    let export = |more: &[&str]| {
        let args = ["export", checkpoint.to_str().unwrap(), "--out", out, "--force"];
        florence2(&[&args[..], more].concat())
    };
    export(&["--precision", "fp16", "--float16-io"]).exits(0);
    export(&["--precision", "quantized"]).exits(0);
    for file in ["vision_encoder_fp16.onnx", "decoder_model_merged_quantized.onnx"] {
        assert!(dir.path().join("onnx").join(file).is_file(), "{file}");
    }
    let ring = scene("ring.png");
    let run = |dtype: &str| florence2(&["run", "-m", out, "--dtype", dtype, "-t", "caption", &ring]);
    for dtype in ["fp16", "q8,vision=fp16", "int8,vision=fp16,decoder=q8,text=q8"] {
        let ran = run(dtype).exits(0);
        assert!(ran.text().contains("orange ring"), "{dtype}: {}", ran.text());
    }
    let ran = run("q4").exits(2);
    assert!(ran.stderr.contains("vision_encoder_q4.onnx"), "{}", ran.stderr);
    for name in ["q4", "int4"] {
        let ran = export(&["--target", "cuda", "--precision", name]).exits(2);
        assert!(
            ran.stderr.contains("has no q4; its dtypes: fp32, fp16"),
            "{}",
            ran.stderr
        );
    }
    let ran = export(&["--float16-io"]).exits(2);
    assert!(ran.stderr.contains("fp16 and q4f16"), "{}", ran.stderr);
}

#[test]
fn a_rejected_decoder_is_replaced_with_a_warning() {
    let dir = tempfile::tempdir().unwrap();
    copy(exported(), dir.path(), "");
    let refused = repository("tests/fixtures/outer_scope.onnx");
    fs::copy(refused, dir.path().join("onnx/decoder_model_merged.onnx")).unwrap();
    let ring = scene("ring.png");
    let ran = florence2(&["run", "-m", dir.path().to_str().unwrap(), "-t", "caption", &ring]).exits(0);
    assert!(ran.text().contains("orange ring"), "{}", ran.text());
    let logged = &ran.stderr;
    assert!(
        logged.contains("decoder_model_merged")
            && logged.contains("outer scope")
            && logged.contains("instead"),
        "{logged}"
    );
}

#[test]
fn a_fine_tunes_tag_has_its_own_prompt_and_parser() {
    let dir = tempfile::tempdir().unwrap();
    copy(exported(), dir.path(), "");
    let path = dir.path().join("preprocessor_config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    config["task_prompts_without_inputs"]["<SHAPES>"] =
        json!("Locate the objects with category name in the image.");
    config["tasks_answer_post_processing_type"]["<SHAPES>"] = json!("description_with_bboxes");
    fs::write(&path, config.to_string()).unwrap();
    let (model, ring) = (dir.path().to_str().unwrap(), scene("ring.png"));
    let args = [
        "run", "-m", model, "--prompt", "<SHAPES>", "--format", "json", &ring,
    ];
    let records = florence2(&args).exits(0).json();
    let result = &records[0]["result"]["<SHAPES>"];
    assert_eq!(result["bboxes"].as_array().unwrap().len(), 2, "{records}");
}
