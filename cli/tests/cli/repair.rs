//! Vision encoders that were traced at another image size: what the program reports of them, and their repaired copy.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::sync::OnceLock;

use flate2::read::GzDecoder;
use tempfile::TempDir;

use crate::program::{florence2, repository, scene};

/// A deployment whose vision encoder was traced at 64x64 pixels and runs on 96x96.
pub fn traced() -> &'static Path {
    static TRACED: OnceLock<TempDir> = OnceLock::new();
    let folder = TRACED.get_or_init(|| {
        let folder = TempDir::new().unwrap();
        let checkpoint = repository("tests/fixtures/checkpoints/base-like");
        let out = folder.path().to_str().unwrap();
        florence2(&["export", checkpoint.to_str().unwrap(), "--out", out]).exits(0);
        let packed = fs::read(repository("tests/fixtures/traced/original.onnx.gz")).unwrap();
        let mut graph = Vec::new();
        GzDecoder::new(&packed[..]).read_to_end(&mut graph).unwrap();
        let graphs = folder.path().join("onnx");
        fs::write(graphs.join("vision_encoder.onnx"), graph).unwrap();
        fs::copy(
            repository("tests/fixtures/traced/weights.bin"),
            graphs.join("weights.bin"),
        )
        .unwrap();
        folder
    });
    folder.path()
}

#[test]
fn frozen_scales_are_reported_and_repaired() {
    let out = TempDir::new().unwrap();
    let [traced, copy] = [traced(), out.path()].map(|folder| folder.to_str().unwrap());
    let ring = scene("ring.png");
    let run = |model: &str, more: &[&str]| {
        let args = [
            "run",
            "-m",
            model,
            "-t",
            "od",
            "--max-new-tokens",
            "12",
            "--format",
            "json",
        ];
        florence2(&[&args[..], more, &[ring.as_str()]].concat()).exits(0)
    };
    let tokens = |model: &str, more: &[&str]| run(model, more).json()[0]["token_ids"].clone();
    let warned = run(traced, &[]).stderr;
    assert!(
        warned.contains("64x64") && warned.contains("repaired in memory"),
        "{warned}"
    );
    let unwarned = run(traced, &["--no-repair"]).stderr;
    assert!(!unwarned.contains("64x64"), "{unwarned}");
    assert_ne!(tokens(traced, &[]), tokens(traced, &["--no-repair"]));

    let report = florence2(&["inspect", "-m", traced, "--format", "json"])
        .exits(0)
        .json();
    assert_eq!(report["usable"], true);
    let repair = report["repairs"][0].as_str().unwrap();
    assert!(
        repair.contains("vision_encoder: 5 channel attentions"),
        "{repair}"
    );

    let ran = florence2(&["repair", "-m", traced, "--out", copy]).exits(0);
    assert!(ran.text().contains("onnx/vision_encoder.onnx"), "{}", ran.text());
    assert_eq!(tokens(traced, &[]), tokens(copy, &["--no-repair"]));
    let report = florence2(&["inspect", "-m", copy, "--format", "json"])
        .exits(0)
        .json();
    assert!(report.get("repairs").is_none());

    let again = TempDir::new().unwrap();
    let again = again.path().join("again");
    let ran = florence2(&["repair", "-m", copy, "--out", again.to_str().unwrap()]).exits(0);
    assert!(
        ran.stderr.contains("needs no repair") && !again.exists(),
        "{}",
        ran.stderr
    );
    let ran = florence2(&["repair", "-m", traced, "--out", copy]).exits(2);
    assert!(ran.stderr.contains("not an empty folder"), "{}", ran.stderr);
    florence2(&["repair", "-m", "demo", "--out", again.to_str().unwrap()]).exits(2);
}
