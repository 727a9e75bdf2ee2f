//! Models by their id, and images by their address.

#[path = "../../../tests/hub/server.rs"]
#[allow(dead_code)] // the library's tests use the rest
mod server;

use std::fs;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use self::server::{COMMIT, ID, Server};
use crate::program::{Ran, command, exported, repository, scene};
use crate::repair::traced;

/// A machine with empty caches, and a hub with the demo model.
struct Machine {
    dir: TempDir,
    server: Server,
}

impl Machine {
    fn new() -> Self {
        Self::with(exported())
    }

    /// Returns a machine whose hub has a deployment.
    fn with(deployment: &Path) -> Self {
        let mut files = files_in(deployment, "");
        files.push(("image.jpg".to_owned(), fs::read(scene("hotel.jpg")).unwrap()));
        Self {
            dir: TempDir::new().unwrap(),
            server: Server::new(files),
        }
    }

    fn run(&self, args: &[&str]) -> Ran {
        let mut command = command(args);
        command
            .env("HF_HOME", self.dir.path())
            .env("HF_ENDPOINT", &self.server.endpoint);
        for name in [
            "HF_HUB_CACHE",
            "HUGGINGFACE_HUB_CACHE",
            "HF_TOKEN",
            "HF_HUB_OFFLINE",
            "TRANSFORMERS_OFFLINE",
        ] {
            command.env_remove(name);
        }
        command.output().unwrap().into()
    }

    /// Runs the program with its own cache empty too: there is no ONNX Runtime in it.
    fn run_without_runtime(&self, args: &[&str]) -> Ran {
        let mut command = command(args);
        command
            .env("HF_HOME", self.dir.path())
            .env("HF_ENDPOINT", &self.server.endpoint)
            .env("FLORENCE2_CACHE", self.dir.path().join("own"));
        command.output().unwrap().into()
    }
}

fn files_in(folder: &Path, prefix: &str) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries
        .flat_map(|entry| {
            let name = format!("{prefix}{}", entry.file_name().to_str().unwrap());
            match entry.file_type().unwrap().is_dir() {
                true => files_in(&entry.path(), &format!("{name}/")),
                false => vec![(name, fs::read(entry.path()).unwrap())],
            }
        })
        .collect()
}

#[test]
fn pull_reports_a_graph_that_needs_a_repair() {
    let machine = Machine::with(traced());
    let ran = machine.run(&["pull", ID]).exits(0);
    let reported = &ran.stderr;
    assert!(
        reported.contains("64x64") && reported.contains("florence2 repair"),
        "{reported}"
    );
    let out = machine.dir.path().join("repaired");
    machine
        .run(&["repair", "-m", ID, "--out", out.to_str().unwrap()])
        .exits(0);
    let ran = machine.run(&["inspect", "-m", out.to_str().unwrap()]).exits(0);
    assert!(!ran.text().contains("needs repair"), "{}", ran.text());
}

#[test]
fn a_model_by_its_id_answers_about_an_image_by_its_address() {
    let machine = Machine::new();
    let url = format!("{}/{ID}/resolve/{COMMIT}/image.jpg", machine.server.endpoint);
    let args = ["run", "-m", ID, "-t", "caption", "--format", "json", &url];
    let ran = machine.run(&args).exits(0);
    let record = &ran.json()[0];
    assert_eq!(record["path"], url.as_str());
    assert_eq!(
        record["result"]["<CAPTION>"],
        "A red sign, a red star, a green arrow and a green ring."
    );
    assert!(ran.stderr.contains("fetching"), "{}", ran.stderr);
    // Without a terminal there is no progress bar.
    assert!(
        !ran.stderr.contains('\r') && !ran.stderr.contains('\u{1b}'),
        "{}",
        ran.stderr
    );

    let missing = url.replace("image.jpg", "absent.jpg");
    let args = ["run", "-m", ID, "-t", "caption", "--format", "jsonl"];
    let ran = machine.run(&[&args[..], &[&missing, &url]].concat()).exits(1);
    let records = ran.jsonl();
    assert!(records[0]["error"].as_str().unwrap().contains("404"), "{ran:?}");
    assert!(records[1].get("result").is_some());
    assert!(!ran.stderr.contains("fetching"), "{}", ran.stderr);
    // Offline, images at addresses fail; those in files are answered.
    let hotel = scene("hotel.jpg");
    let ran = machine
        .run(&[&args[..], &["--offline", &url, &hotel]].concat())
        .exits(1);
    let records = ran.jsonl();
    assert!(
        records[0]["error"].as_str().unwrap().contains("--offline"),
        "{ran:?}"
    );
    assert!(records[1].get("result").is_some());
}

#[test]
fn pull_continues_after_a_model_that_fails() {
    let machine = Machine::new();
    let ran = machine
        .run(&["pull", "org/nothing", ID, "--format", "json"])
        .exits(1);
    assert_eq!(ran.json()[0]["model"], ID);
    assert!(ran.stderr.contains("org/nothing"), "{}", ran.stderr);
}

#[test]
fn models_are_pulled_listed_and_removed() {
    let machine = Machine::new();
    let pulled = machine.run(&["pull", ID, "--format", "json"]).exits(0).json();
    assert_eq!(pulled[0]["model"], ID);
    assert_eq!(pulled[0]["commit"], COMMIT);
    let folder = pulled[0]["folder"].as_str().unwrap().to_owned();
    assert!(Path::new(&folder).join("onnx/vision_encoder.onnx").is_file());
    let again = machine.run(&["pull", ID]).exits(0);
    assert_eq!(again.text().trim(), folder);
    assert!(again.stderr.contains("is in the cache"), "{}", again.stderr);

    let models = machine.run(&["models", "--format", "json"]).exits(0).json();
    let models = models.as_array().unwrap().clone();
    let ours = models.iter().find(|model| model["id"] == ID).unwrap();
    assert_eq!(ours["cached"]["dtypes"][0], "fp32");
    let known = models
        .iter()
        .find(|model| model["id"] == "onnx-community/Florence-2-base-ft")
        .unwrap();
    assert_eq!(known["cached"], Value::Null);
    let table = machine.run(&["models"]).exits(0).text();
    assert!(
        table.contains(ID) && table.contains("onnx-community/Florence-2-base-ft"),
        "{table}"
    );

    let path = machine.run(&["cache", "path"]).exits(0).text();
    assert_eq!(
        path.lines().next().unwrap(),
        machine.dir.path().join("hub").to_str().unwrap()
    );
    let list = machine
        .run_without_runtime(&["cache", "list", "--format", "json"])
        .exits(0)
        .json();
    assert_eq!(list.as_array().unwrap().len(), 1);
    assert!(list[0]["bytes"].as_u64().unwrap() > 1_000_000);

    machine
        .run_without_runtime(&["cache", "clean", "--all", "--dry-run"])
        .exits(0);
    assert!(Path::new(&folder).exists());
    // TensorRT's files of the model's graph are removed with it; those of another graph stay.
    let graph = Path::new(&folder).join("onnx/vision_encoder.onnx");
    let made_of = |key: &str, graph: &Path| {
        let made = machine.dir.path().join("own/providers/tensorrt").join(key);
        fs::create_dir_all(&made).unwrap();
        let record = serde_json::json!({ "graph": graph });
        fs::write(made.join("graph.json"), record.to_string()).unwrap();
        made
    };
    let ours = made_of("1", &graph);
    let other = made_of("2", Path::new("/elsewhere/model.onnx"));
    let library = machine.dir.path().join("own/onnxruntime/1.30.0-linux-x86_64");
    fs::create_dir_all(&library).unwrap();
    fs::write(library.join("verified.json"), r#"{"size":1,"sha256":"0"}"#).unwrap();
    let list = machine
        .run_without_runtime(&["cache", "list", "--format", "json"])
        .exits(0)
        .json();
    let runtime = list
        .as_array()
        .unwrap()
        .iter()
        .find(|entry| entry["kind"] == "runtime");
    assert_eq!(runtime.unwrap()["version"], "1.30.0-linux-x86_64");
    let made = list
        .as_array()
        .unwrap()
        .iter()
        .find(|entry| entry["graph"] == graph.to_str().unwrap());
    assert_eq!(made.unwrap()["device"], "tensorrt");
    machine.run_without_runtime(&["cache", "clean", ID]).exits(0);
    assert!(!Path::new(&folder).exists() && !ours.exists());
    assert!(other.exists() && library.exists());
    let table = machine.run_without_runtime(&["cache", "list"]).exits(0).text();
    assert!(table.contains("tensorrt: /elsewhere/model.onnx"), "{table}");
    machine
        .run_without_runtime(&["cache", "clean", "--providers"])
        .exits(0);
    assert!(!other.exists() && library.exists());
    machine
        .run_without_runtime(&["cache", "clean", "--runtimes"])
        .exits(0);
    assert!(!library.exists());
    let gone = machine.run_without_runtime(&["cache", "clean", ID]).exits(2);
    assert!(gone.stderr.contains("not in the cache"), "{}", gone.stderr);
    machine.run(&["cache", "clean"]).exits(2);
}

#[test]
fn a_missing_model_is_reported_with_its_cause() {
    let machine = Machine::new();
    let hotel = scene("hotel.jpg");
    let run = |model: &str, more: &[&str]| {
        machine
            .run(&[&["run", "-t", "caption", "-m", model, &hotel], more].concat())
            .exits(2)
            .stderr
    };
    let absent = run("org/absent", &[]);
    assert!(
        absent.contains("org/absent") && absent.contains("folder"),
        "{absent}"
    );
    let neither = run("nowhere", &[]);
    assert!(neither.contains("organisation/name"), "{neither}");
    let offline = run(ID, &["--offline"]);
    assert!(offline.contains("florence2 pull"), "{offline}");
    machine.server.fail_listing(Some((403, "GatedRepo")));
    let gated = run(ID, &[]);
    assert!(gated.contains("HF_TOKEN") && gated.contains("403"), "{gated}");
}

#[test]
fn a_model_is_fetched_before_its_loading_is_measured() {
    let machine = Machine::new();
    let args = ["bench", "-m", ID, "--num-beams", "1,2", "--tokens", "2"];
    let more = ["--warmup", "0", "--repeat", "1", "--format", "json"];
    let ran = machine.run(&[&args[..], &more].concat()).exits(0);
    assert_eq!(ran.stderr.matches("fetching").count(), 1, "{}", ran.stderr);
    // Workers write no notes.
    assert!(!ran.stderr.contains(']'), "{}", ran.stderr);
    let run = ran.json();
    assert_eq!(run["configurations"][1]["model"], ID);
    assert!(run["configurations"][1]["measured"].is_object(), "{run}");
}

#[test]
fn a_checkpoint_is_exported_by_its_id() {
    let checkpoint = repository("tests/fixtures/checkpoints/base-like");
    let files = files_in(&checkpoint, "checkpoints/last/");
    let machine = Machine {
        dir: TempDir::new().unwrap(),
        server: Server::new(files),
    };
    let out = machine.dir.path().join("out");
    let args = ["export", ID, "--out", out.to_str().unwrap()];
    let ran = machine.run(&args).exits(2);
    assert!(ran.stderr.contains("nor a checkpoint"), "{}", ran.stderr);
    let args = [&args[..], &["--subfolder", "checkpoints/last"]].concat();
    machine.run(&args).exits(0);
    assert!(out.join("onnx/vision_encoder.onnx").is_file());
}
