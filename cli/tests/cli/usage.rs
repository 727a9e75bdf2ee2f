//! Arguments that make no sense: exit code 2, before any model is loaded.

use crate::program::{florence2, scene};

#[test]
fn requests_are_checked_before_the_model_is_loaded() {
    let rings = scene("rings.png");
    let rings = rings.as_str();
    for (args, reason) in [
        (&[rings][..], "--task"),
        (&["-t", "od"], "IMAGE"),
        (&["-t", "odd", rings], "the tasks are caption"),
        (&["-t", "<DocVQA>", rings], "--prompt '<DocVQA>'"),
        (&["-t", "caption-to-phrase-grounding", rings], "needs --text"),
        (
            &["-t", "open-vocabulary-detection", "--text", " ", rings],
            "needs a text",
        ),
        (&["-t", "region-to-ocr", rings], "needs --region"),
        (
            &["-t", "od,caption", "--text", "a cat", rings],
            "--text is for caption-to-phrase-grounding",
        ),
        (
            &["-t", "od", "--region", "1,2,3,4", rings],
            "--region is for region-to-segmentation",
        ),
        (
            &["-t", "region-to-ocr", "--region", "30,2,3,4", rings],
            "reversed",
        ),
        (
            &["-t", "region-to-ocr", "--region", "-1,2,3,4", rings],
            "upper left corner",
        ),
        (
            &["-t", "region-to-ocr", "--region", "1,2,3", rings],
            "four numbers",
        ),
        (
            &["-t", "caption", "--stream", "--format", "json", rings],
            "--format text",
        ),
        (
            &["-t", "caption", "--stream", "--num-beams", "3", rings],
            "--num-beams",
        ),
        (&["-t", "caption", "-", "-"], "only once"),
        (&["-t", "caption", "--device", "abacus", rings], "cpu"),
        (&["-t", "caption", "--dtype", "int7", rings], "q4f16"),
        (
            &["-t", "caption", "--dtype", "head=int8", rings],
            "vision, text, decoder",
        ),
        (
            &["-t", "caption", "--draw", "out.png", rings],
            "none of the tasks",
        ),
        (&["-t", "od", "--draw", rings, rings], "would destroy it"),
        (&["-t", "od", "-o", rings, rings], "would destroy it"),
        (
            &["-t", "od", "--draw", "x.png", "-o", "x.png", rings],
            "both name",
        ),
        (&["-t", "od", "--draw", "-", rings], "-o FILE"),
    ] {
        let ran = florence2(&[&["run", "--model", "no/such/model"], args].concat()).exits(2);
        assert!(ran.stderr.contains(reason), "{args:?}: {}", ran.stderr);
        assert!(!ran.stderr.contains("no/such/model"), "{args:?}: {}", ran.stderr);
        assert_eq!(ran.text(), "", "{args:?}");
    }
}

#[test]
fn a_model_that_is_none() {
    let (rings, folder) = (scene("rings.png"), tempfile::tempdir().unwrap());
    let folder = folder.path().to_str().unwrap();
    for (model, reason) in [("no/such/model", "no/such/model"), (folder, "config.json")] {
        let ran = florence2(&["run", "--model", model, "-t", "od", &rings]).exits(2);
        assert!(
            ran.stderr.starts_with("error: ") && ran.stderr.contains(reason),
            "{}",
            ran.stderr
        );
        assert_eq!(ran.text(), "");
    }
}

#[test]
fn settings_that_contradict_each_other() {
    let rings = scene("rings.png");
    let args = [
        "run",
        "--model",
        "demo",
        "-t",
        "od",
        "--format",
        "json",
        "--num-beams",
        "2",
    ];
    let ran = florence2(&[&args[..], &["--num-return-sequences", "5", &rings]].concat()).exits(2);
    assert!(ran.stderr.contains("num_return_sequences"), "{}", ran.stderr);
}

#[test]
fn the_runtime_can_be_named() {
    let rings = scene("rings.png");
    let ran = florence2(&["run", "-t", "od", "--ort-library", "no/such/library.so", &rings]).exits(2);
    assert!(ran.stderr.contains("no/such/library.so"), "{}", ran.stderr);
}

#[test]
fn help_and_version_are_results() {
    for command in [
        "run", "bench", "compare", "parse", "tasks", "inspect", "export", "demo",
    ] {
        let help = florence2(&[command, "--help"]).exits(0).text();
        assert!(help.contains(&format!("Usage: florence2 {command}")), "{help}");
    }
    assert_eq!(
        florence2(&["--version"]).exits(0).text(),
        concat!("florence2 ", env!("CARGO_PKG_VERSION"), "\n")
    );
}
