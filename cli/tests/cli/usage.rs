//! Invalid arguments: exit code 2, before any model is loaded.

use crate::program::{Ran, command, florence2, scene};

#[test]
fn requests_are_checked_before_the_model_is_loaded() {
    let ring = scene("ring.png");
    let ring = ring.as_str();
    for (args, reason) in [
        (&[ring][..], "--task"),
        (&["-t", "od"], "IMAGE"),
        (&["-t", "unknown", ring], "the tasks are caption"),
        (&["-t", "<DocVQA>", ring], "--prompt '<DocVQA>'"),
        (&["-t", "caption-to-phrase-grounding", ring], "needs --text"),
        (
            &["-t", "open-vocabulary-detection", "--text", " ", ring],
            "needs a text",
        ),
        (&["-t", "region-to-ocr", ring], "needs --region"),
        (
            &["-t", "od,caption", "--text", "a cat", ring],
            "--text is for caption-to-phrase-grounding",
        ),
        (
            &["-t", "od", "--region", "1,2,3,4", ring],
            "--region is for region-to-segmentation",
        ),
        (&["-t", "region-to-ocr", "--region", "30,2,3,4", ring], "reversed"),
        (
            &["-t", "region-to-ocr", "--region", "-1,2,3,4", ring],
            "upper left corner",
        ),
        (
            &["-t", "region-to-ocr", "--region", "1,2,3", ring],
            "four numbers",
        ),
        (
            &["-t", "caption", "--stream", "--format", "json", ring],
            "--format text",
        ),
        (
            &["-t", "caption", "--stream", "--num-beams", "3", ring],
            "--num-beams",
        ),
        (&["-t", "caption", "-", "-"], "only once"),
        (&["-t", "caption", "--device", "abacus", ring], "cpu"),
        (&["-t", "caption", "--dtype", "int7", ring], "q4f16"),
        (
            &["-t", "caption", "--image-backend", "opencv", ring],
            "pillow, torchvision",
        ),
        (
            &["-t", "caption", "--dtype", "head=int8", ring],
            "vision, text, decoder",
        ),
        (&["-t", "caption", "--draw", "out.png", ring], "none of the tasks"),
        (&["-t", "od", "--draw", ring, ring], "would destroy it"),
        (&["-t", "od", "-o", ring, ring], "would destroy it"),
        (&["-t", "od", "--draw", "x.png", "-o", "x.png", ring], "both name"),
        (&["-t", "od", "--draw", "-", ring], "-o FILE"),
    ] {
        let ran = florence2(&[&["run", "--model", "no/such/model"], args].concat()).exits(2);
        assert!(ran.stderr.contains(reason), "{args:?}: {}", ran.stderr);
        assert!(!ran.stderr.contains("no/such/model"), "{args:?}: {}", ran.stderr);
        assert_eq!(ran.text(), "", "{args:?}");
    }
}

#[test]
fn invalid_models_are_reported() {
    let (ring, folder) = (scene("ring.png"), tempfile::tempdir().unwrap());
    let folder = folder.path().to_str().unwrap();
    for (model, reason) in [("no/such/model", "no/such/model"), (folder, "config.json")] {
        let ran = florence2(&["run", "--model", model, "-t", "od", &ring]).exits(2);
        assert!(
            ran.stderr.starts_with("error: ") && ran.stderr.contains(reason),
            "{}",
            ran.stderr
        );
        assert_eq!(ran.text(), "");
    }
}

#[test]
fn a_folder_that_is_not_there_is_not_asked_of_the_hub() {
    let (dir, ring) = (tempfile::tempdir().unwrap(), scene("ring.png"));
    std::fs::create_dir(dir.path().join("models")).unwrap();
    let run = |model: &str| {
        let mut command = command(&["run", "--model", model, "-t", "od", &ring]);
        command
            .current_dir(dir.path())
            .env("HF_HOME", dir.path())
            .env("HF_HUB_OFFLINE", "1");
        Ran::from(command.output().unwrap()).exits(2).stderr
    };
    let near = run("models/x");
    assert!(
        near.contains("models/x: there is no such folder; models/x@main asks the hub"),
        "{near}"
    );
    let far = run("organisation/x");
    assert!(
        far.contains("organisation/x: there is no such folder, and the hub gives no model")
            && far.contains("pull"),
        "{far}"
    );
}

#[test]
fn contradictory_settings_are_reported() {
    let ring = scene("ring.png");
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
    let ran = florence2(&[&args[..], &["--num-return-sequences", "5", &ring]].concat()).exits(2);
    assert!(ran.stderr.contains("num_return_sequences"), "{}", ran.stderr);
}

#[test]
fn the_runtime_library_can_be_given() {
    let ring = scene("ring.png");
    let ran = florence2(&["run", "-t", "od", "--ort-library", "no/such/library.so", &ring]).exits(2);
    assert!(ran.stderr.contains("no/such/library.so"), "{}", ran.stderr);
}

#[test]
fn help_and_version_go_to_stdout() {
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
