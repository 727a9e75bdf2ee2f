//! `florence2 export`.

use std::fs;

use crate::program::{copy, exported, florence2, repository};

#[test]
fn the_written_files_are_reported() {
    let checkpoint = repository("models/demo/checkpoint");
    let (checkpoint, dir) = (checkpoint.to_str().unwrap(), tempfile::tempdir().unwrap());
    let out = dir.path().join("new/folder");
    let ran = florence2(&[
        "export",
        checkpoint,
        "--out",
        out.to_str().unwrap(),
        "--image-size",
        "256",
    ])
    .exits(0);
    let text = ran.text();
    assert!(text.contains("256x256 pixels"), "{text}");
    for file in [
        "onnx/vision_encoder.onnx",
        "onnx/decoder_model_merged.onnx",
        "config.json",
        "tokenizer.json",
    ] {
        let line = text
            .lines()
            .find(|line| line.ends_with(file))
            .unwrap_or_else(|| panic!("{file}: {text}"));
        let bytes: u64 = line.split_whitespace().next().unwrap().parse().unwrap();
        assert_eq!(fs::metadata(out.join(file)).unwrap().len(), bytes);
    }
    assert!(ran.stderr.contains("florence2 run --model"), "{}", ran.stderr);
}

#[test]
fn a_tokenizer_may_come_from_elsewhere() {
    let checkpoint = repository("models/demo/checkpoint");
    let dir = tempfile::tempdir().unwrap();
    let (bare, out) = (dir.path().join("bare"), dir.path().join("out"));
    copy(&checkpoint, &bare, "tokenizer.json");
    let [checkpoint, bare, out] = [&checkpoint, &bare, &out].map(|path| path.to_str().unwrap());

    let ran = florence2(&["export", bare, "--out", out]).exits(0);
    assert!(
        ran.stderr.contains("the checkpoint has no tokenizer.json"),
        "{}",
        ran.stderr
    );
    florence2(&["export", bare, "--out", out, "--force", "--tokenizer", checkpoint]).exits(0);
    florence2(&["inspect", "--model", out]).exits(0);
    let ran = florence2(&[
        "export",
        bare,
        "--out",
        out,
        "--force",
        "--tokenizer",
        dir.path().to_str().unwrap(),
    ]);
    assert!(ran.exits(2).stderr.contains("has neither tokenizer.json"));
}

#[test]
fn a_folder_in_use_is_not_overwritten() {
    let checkpoint = repository("models/demo/checkpoint");
    let args = [
        "export",
        checkpoint.to_str().unwrap(),
        "--out",
        exported().to_str().unwrap(),
    ];
    let config = exported().join("config.json");
    let before = fs::metadata(&config).unwrap().modified().unwrap();
    let ran = florence2(&args).exits(2);
    assert!(ran.stderr.contains("--force"), "{}", ran.stderr);
    assert_eq!(fs::metadata(&config).unwrap().modified().unwrap(), before);
}

#[test]
fn invalid_exports_are_rejected() {
    let dir = tempfile::tempdir().unwrap();
    let (empty, out) = (dir.path().to_str().unwrap(), dir.path().join("out"));
    let checkpoint = repository("models/demo/checkpoint");
    let checkpoint = checkpoint.to_str().unwrap();
    for (args, reason) in [
        (&["export", empty][..], "config.json"),
        (&["export", "no/such/folder"], "no/such/folder"),
        (&["export"], "CHECKPOINT"),
        (&["export", checkpoint, "--random", "base"], "cannot be used with"),
        (&["export", checkpoint, "--image-size", "100"], "32"),
        (&["export", checkpoint, "--target", "toaster"], "plain, cpu"),
        (
            &["export", checkpoint, "--precision", "int3"],
            "fp32, int8, quantized",
        ),
        (
            &["export", checkpoint, "--target", "cpu", "--precision", "fp16"],
            "cpu has no fp16",
        ),
        (
            &["export", checkpoint, "--calibrate", "a.jpg"],
            "--precision int8",
        ),
    ] {
        let ran = florence2(&[args, &["--out", out.to_str().unwrap()]].concat()).exits(2);
        assert!(ran.stderr.contains(reason), "{args:?}: {}", ran.stderr);
        assert!(!out.exists(), "{args:?}");
    }
}

#[test]
fn a_calibrated_export_has_other_weights() {
    let dir = tempfile::tempdir().unwrap();
    let checkpoint = repository("models/demo/checkpoint");
    let image = repository("models/demo/scenes/hotel.jpg");
    let int8 = |out: &str, more: &[&str]| {
        let out = dir.path().join(out);
        let args = [
            "export",
            checkpoint.to_str().unwrap(),
            "--out",
            out.to_str().unwrap(),
        ];
        florence2(&[&args[..], &["--target", "cpu", "--precision", "int8"], more].concat()).exits(0);
        ["vision_encoder", "text_encoder", "decoder_step"]
            .map(|graph| fs::read(out.join(format!("onnx/{graph}_int8.onnx"))).unwrap())
    };
    let uncalibrated = int8("uncalibrated", &[]);
    let calibrated = int8("calibrated", &["--calibrate", image.to_str().unwrap()]);
    let differ: Vec<bool> = uncalibrated
        .iter()
        .zip(&calibrated)
        .map(|(a, b)| a != b)
        .collect();
    assert_eq!(differ, [true, true, false]);
}

#[test]
fn an_unreadable_image_ends_a_calibration_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let checkpoint = repository("models/demo/checkpoint");
    let config = checkpoint.join("config.json");
    let args = [
        "export",
        checkpoint.to_str().unwrap(),
        "--out",
        out.to_str().unwrap(),
    ];
    let calibrate = [
        "--target",
        "cpu",
        "--precision",
        "int8",
        "--calibrate",
        config.to_str().unwrap(),
    ];
    let ran = florence2(&[&args[..], &calibrate].concat()).exits(2);
    assert!(ran.stderr.contains("config.json"), "{}", ran.stderr);
    assert!(!out.exists());
}

#[test]
fn an_adapter_is_merged() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let (base, adapter) = (
        repository("tests/fixtures/checkpoints/base-like"),
        repository("tests/fixtures/adapters/notebook"),
    );
    let (base, adapter) = (base.to_str().unwrap(), adapter.to_str().unwrap());
    florence2(&["export", base, "--out", &path("base")]).exits(0);
    florence2(&["export", base, "--adapter", adapter, "--out", &path("merged")]).exits(0);
    let graph = |out: &str| fs::read(dir.path().join(out).join("onnx/embed_tokens.onnx")).unwrap();
    assert!(graph("merged") != graph("base"));

    for args in [
        &["export", adapter, "--out", &path("alone")][..],
        &["run", "-m", adapter, "-t", "od", "a.jpg"],
        &["inspect", "-m", adapter],
    ] {
        let ran = florence2(args).exits(2);
        let said = format!("{}{}", ran.text(), ran.stderr);
        assert!(
            said.contains("PEFT adapter") && said.contains("base-like") && said.contains("--adapter"),
            "{args:?}: {said}"
        );
    }
}
