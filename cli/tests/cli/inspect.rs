//! `florence2 inspect` of complete and incomplete models.

use std::fs;
use std::path::Path;

use crate::program::{Ran, copy, exported, florence2, repository};

fn inspect(folder: &Path, format: &str) -> Ran {
    florence2(&["inspect", "--model", folder.to_str().unwrap(), "--format", format])
}

#[test]
fn a_complete_model() {
    let report = inspect(exported(), "json").exits(0).json();
    assert_eq!(report["usable"], true);
    assert_eq!(
        (
            report["missing"].as_array().unwrap().len(),
            report["problems"].as_array().unwrap().len()
        ),
        (0, 0)
    );
    assert_eq!(report["config"]["text"]["d_model"], 128);
    assert_eq!(report["config"]["generation"]["num_beams"], 3);
    let graphs = report["graphs"].as_array().unwrap();
    assert_eq!(graphs.len(), 6);
    let vision = graphs
        .iter()
        .find(|graph| graph["graph"] == "vision_encoder")
        .unwrap();
    assert_eq!(vision["precision"], "fp32");
    assert!(vision["weights"]["fp32"].as_u64().unwrap() > 1_000_000);
    assert!(vision["opsets"]["ai.onnx"].as_u64().unwrap() >= 17);
    assert_eq!(vision["inputs"][0]["name"], "pixel_values");
    assert_eq!(vision["inputs"][0]["dtype"], "f32");
    let shape: Vec<String> = vision["inputs"][0]["shape"]
        .as_array()
        .unwrap()
        .iter()
        .map(|size| size.to_string())
        .collect();
    assert_eq!(shape, ["\"batch_size\"", "3", "192", "192"]);

    let text = inspect(exported(), "text").exits(0).text();
    for fact in [
        "usable",
        "d_model",
        "decoder_model_merged",
        "past_key_values.0.decoder.key",
        "florence2.precision",
    ] {
        assert!(text.contains(fact), "{fact}: {text}");
    }
}

/// Models that are something else: each is named, with what to do.
#[test]
fn folders_of_other_kinds() {
    let report = |folder: &Path| florence2(&["inspect", folder.to_str().unwrap(), "--format", "json"]);
    assert_eq!(report(exported()).exits(0).json()["usable"], true);

    let checkpoint = repository("models/demo/checkpoint");
    let problems = report(&checkpoint).exits(2).json()["problems"].to_string();
    assert!(
        problems.contains("checkpoint") && problems.contains("`florence2 export "),
        "{problems}"
    );

    // A repository in a hub's cache.
    let cache = tempfile::tempdir().unwrap();
    let snapshot = cache.path().join("snapshots/1234");
    fs::create_dir_all(&snapshot).unwrap();
    let problems = report(cache.path()).exits(2).json()["problems"].to_string();
    assert!(problems.contains(snapshot.to_str().unwrap()), "{problems}");

    // Files that no table names, and the table.
    let other = tempfile::tempdir().unwrap();
    copy(exported(), other.path(), "");
    fs::rename(other.path().join("onnx"), other.path().join("graphs")).unwrap();
    let problems = report(other.path()).exits(2).json()["problems"].to_string();
    assert!(problems.contains("graphs/vision_encoder.onnx"), "{problems}");
    let names = other.path().join("names.json");
    let graphs = [
        "vision_encoder",
        "embed_tokens",
        "encoder_model",
        "decoder_model_merged",
    ];
    let entries = graphs.map(|graph| format!(r#""{graph}": {{"files": ["graphs/{graph}.onnx"]}}"#));
    fs::write(&names, format!("{{{}}}", entries.join(","))).unwrap();
    let folder = other.path().to_str().unwrap();
    let args = ["inspect", folder, "--names", names.to_str().unwrap()];
    florence2(&args).exits(0);
    let ran = florence2(&["inspect", folder, "--names", "no/such.json"]).exits(2);
    assert!(ran.stderr.contains("no/such.json"), "{}", ran.stderr);
}

#[test]
fn the_embedded_model() {
    assert_eq!(
        florence2(&["inspect", "-m", "demo", "--format", "json"])
            .exits(0)
            .json()["usable"],
        true
    );
}

#[test]
fn an_incomplete_model_is_described() {
    let dir = tempfile::tempdir().unwrap();
    copy(exported(), dir.path(), "tokenizer.json");
    fs::remove_file(dir.path().join("onnx/embed_tokens.onnx")).unwrap();
    let graph = dir.path().join("onnx/encoder_model.onnx");
    let bytes = fs::read(&graph).unwrap();
    fs::write(&graph, &bytes[..bytes.len() / 2]).unwrap();

    let ran = inspect(dir.path(), "json").exits(2);
    let report = ran.json();
    assert_eq!(report["usable"], false);
    let list = |key: &str| {
        report[key]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item.to_string())
            .collect::<Vec<_>>()
            .join("\n")
    };
    assert!(
        list("missing").contains("embed_tokens.onnx") && list("missing").contains("tokenizer.json"),
        "{report}"
    );
    assert!(list("problems").contains("encoder_model.onnx"), "{report}");
    assert_eq!(report["graphs"].as_array().unwrap().len(), 5);
    assert!(ran.stderr.contains("not a usable model"), "{}", ran.stderr);

    let text = inspect(dir.path(), "text").exits(2).text();
    assert!(
        text.contains("missing: embed_tokens.onnx") && text.contains("problem: "),
        "{text}"
    );
}

#[test]
fn folders_without_a_model() {
    let dir = tempfile::tempdir().unwrap();
    let report = inspect(dir.path(), "json").exits(2).json();
    assert!(
        report["missing"]
            .as_array()
            .unwrap()
            .contains(&"config.json".into()),
        "{report}"
    );

    fs::write(dir.path().join("config.json"), "{").unwrap();
    assert!(
        inspect(dir.path(), "text")
            .exits(2)
            .stderr
            .contains("config.json")
    );
    assert!(
        inspect(Path::new("no/such/folder"), "text")
            .exits(2)
            .stderr
            .contains("no/such/folder")
    );
}

#[test]
fn graphs_of_a_missing_dtype_are_named() {
    let folder = exported().to_str().unwrap();
    let args = ["inspect", "--model", folder, "--format", "json", "--dtype"];
    let report = florence2(&[&args[..], &["decoder=q4"]].concat()).exits(2).json();
    let missing = report["missing"].as_array().unwrap();
    assert_eq!(missing.len(), 1, "{missing:?}");
    assert!(
        missing[0]
            .as_str()
            .unwrap()
            .starts_with("decoder_model_merged_q4.onnx"),
        "{missing:?}"
    );
    let report = florence2(&[&args[..], &["fp32"]].concat()).exits(0).json();
    assert_eq!(report["graphs"].as_array().unwrap().len(), 6);
}
