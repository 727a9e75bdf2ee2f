//! Models from a hub that answer.

#[path = "../common/mod.rs"]
mod common;

use std::fs;
use std::path::{Path, PathBuf};

use florence2::hub::{fetch_adapter, fetch_checkpoint, prepare};
use florence2::{CacheContent, Error, Florence2, LoadOptions, Task, cache_entries, load_image};
use florence2_export::{Checkpoint, ExportOptions, export};
use image::RgbImage;

use super::{ID, Machine, files_in};

/// Returns a folder's files as those of a repository.
fn repository_of(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let read = |file: String| {
        let bytes = fs::read(folder.join(&file)).unwrap();
        (file, bytes)
    };
    files_in(folder).into_iter().map(read).collect()
}

/// Returns the files of an exported checkpoint.
fn deployment_of(checkpoint: &Path) -> Vec<(String, Vec<u8>)> {
    let dir = tempfile::tempdir().unwrap();
    // With external data.
    let options = ExportOptions::default().with_external_data_threshold(1 << 20);
    export(&Checkpoint::open(checkpoint).unwrap(), dir.path(), &options).unwrap();
    repository_of(dir.path())
}

fn demo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo/checkpoint")
}

fn scene() -> RgbImage {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo/scenes/hotel.jpg");
    load_image(path).unwrap()
}

#[test]
fn a_model_is_loaded_by_its_id_and_answers() {
    common::runtime();
    let machine = Machine::new(deployment_of(&demo()));
    let names = machine.prepare().unwrap().files;
    assert!(names.iter().any(|file| file.ends_with(".onnx_data")), "{names:?}");
    assert!(
        !names.contains(&"onnx/decoder_model.onnx".to_owned()),
        "{names:?}"
    );

    let by_name = Florence2::from_pretrained(ID, machine.options()).unwrap();
    let caption = by_name.run(&scene(), &Task::Caption).unwrap();
    assert_eq!(
        caption.raw_text,
        "<s>A red sign, a red star, a green arrow and a green ring.</s>"
    );

    // A folder of that name takes precedence; the hub gets no request.
    machine.server.requests();
    let folder = machine.repository().join("snapshots").join(super::server::COMMIT);
    Florence2::from_pretrained(folder, machine.options()).unwrap();
    assert!(machine.server.requests().is_empty());
}

#[test]
fn rejected_decoders_fall_back_to_others() {
    common::runtime();
    let mut files = deployment_of(&common::fixture("checkpoints/base-like"));
    for (name, bytes) in &mut files {
        if name.contains("decoder_model_merged") {
            *bytes = b"no graph that ONNX Runtime would take".to_vec();
        }
    }
    let machine = Machine::new(files);
    Florence2::from_pretrained(ID, machine.options()).unwrap();
    let snapshot = machine.snapshot();
    for name in ["onnx/decoder_model.onnx", "onnx/decoder_with_past_model.onnx"] {
        assert!(snapshot.contains(&name.to_owned()), "{snapshot:?}");
    }
}

#[test]
fn a_checkpoint_is_exported_once() {
    common::runtime();
    let mut files = repository_of(&common::fixture("checkpoints/large-like"));
    files.push(("pytorch_model.bin".to_owned(), vec![0; 5000]));
    let machine = Machine::new(files);
    let model = Florence2::from_pretrained(ID, machine.options()).unwrap();
    assert_eq!(
        machine
            .snapshot()
            .iter()
            .filter(|file| file.ends_with(".safetensors"))
            .count(),
        3
    );
    assert!(!machine.snapshot().contains(&"pytorch_model.bin".to_owned()));
    let first = model.run(&scene(), &Task::Caption).unwrap();

    let cache = machine.hub().export_dir.unwrap();
    let exports = cache_entries(&cache);
    let [made] = exports.as_slice() else {
        panic!("{exports:?}")
    };
    let expected = CacheContent::Export {
        model: ID.into(),
        target: "cpu".into(),
        precision: "fp32".into(),
    };
    assert_eq!(made.content, expected);
    let graph = made.folder.join("onnx/decoder_step.onnx");
    let written = fs::metadata(&graph).unwrap().modified().unwrap();

    // The second time, offline.
    let again = Florence2::from_pretrained(ID, machine.offline()).unwrap();
    assert_eq!(
        again.run(&scene(), &Task::Caption).unwrap().raw_text,
        first.raw_text
    );
    assert_eq!(fs::metadata(&graph).unwrap().modified().unwrap(), written);
    let prepared = prepare(&ID.parse().unwrap(), &machine.offline()).unwrap();
    assert!(prepared.exported && prepared.folder == made.folder);

    // A missing shard is an error.
    let shard = machine.repository().join("snapshots").join(super::server::COMMIT);
    fs::remove_file(shard.join("model-00002-of-00003.safetensors")).unwrap();
    let error = prepare(&ID.parse().unwrap(), &machine.offline()).unwrap_err();
    assert!(
        matches!(&error, Error::NotCached { reason, .. } if reason.contains("00002")),
        "{error}"
    );
    assert!(made.remove().unwrap());
    assert!(cache_entries(&cache).is_empty());
}

#[test]
fn a_precision_without_an_export_is_rejected() {
    let machine = Machine::new(repository_of(&common::fixture("checkpoints/base-like")));
    let options: LoadOptions = machine.options().with_dtype("bnb4".parse().unwrap());
    let error = Florence2::from_pretrained(ID, options).unwrap_err();
    assert!(
        matches!(error, Error::InvalidOption { name: "dtype", .. }),
        "{error}"
    );
}

#[test]
fn a_checkpoint_in_a_folder_of_a_repository_is_fetched_and_exported() {
    let mut files = repository_of(&common::fixture("pytorch/sharded"));
    files.extend(
        repository_of(&common::fixture("pytorch"))
            .into_iter()
            .filter(|(file, _)| file == "config.json"),
    );
    let below = |(file, bytes): (String, Vec<u8>)| (format!("runs/last/{file}"), bytes);
    let mut files: Vec<_> = files.into_iter().map(below).collect();
    files.extend(deployment_of(&common::fixture("checkpoints/base-like")));
    let machine = Machine::new(files);
    let id = ID.parse().unwrap();
    let options = |subfolder: &str| LoadOptions::default().with_hub(machine.hub().with_subfolder(subfolder));

    let checkpoint = fetch_checkpoint(&id, &options("runs/last")).unwrap();
    assert!(
        !checkpoint.exported && checkpoint.folder.ends_with("runs/last"),
        "{checkpoint:?}"
    );
    assert!(
        machine
            .snapshot()
            .iter()
            .all(|file| file.starts_with("runs/last/"))
    );
    Checkpoint::open(&checkpoint.folder).unwrap();
    let offline = machine.hub().with_subfolder("/runs/last/").with_offline(true);
    let again = fetch_checkpoint(&id, &LoadOptions::default().with_hub(offline)).unwrap();
    assert_eq!(again.folder, checkpoint.folder);

    // The repository itself has graphs, but no checkpoint.
    let error = fetch_checkpoint(&id, &machine.options()).unwrap_err();
    assert!(matches!(error, Error::NoGraphs { .. }), "{error}");
    for subfolder in ["runs/first", "../last", "runs/la"] {
        let error = prepare(&id, &options(subfolder)).unwrap_err();
        assert!(
            matches!(
                error,
                Error::InvalidOption {
                    name: "subfolder",
                    ..
                }
            ),
            "{error}"
        );
    }
}

#[test]
fn an_adapter_is_fetched_but_is_no_model() {
    let machine = Machine::new(repository_of(&common::fixture("adapters/notebook")));
    let id = ID.parse().unwrap();
    match prepare(&id, &machine.options()) {
        Err(Error::IsAdapter { model, base }) => assert_eq!((&*model, &*base), (ID, "base-like")),
        other => panic!("{other:?}"),
    }
    let adapter = fetch_adapter(&id, &machine.options()).unwrap();
    assert_eq!(
        adapter.files,
        ["adapter_config.json", "adapter_model.safetensors"]
    );
    let base = Checkpoint::open(common::fixture("checkpoints/base-like")).unwrap();
    base.with_adapter(&adapter.folder).unwrap();
    let machine = Machine::new(repository_of(&common::fixture("pytorch")));
    let error = fetch_adapter(&id, &machine.options()).unwrap_err();
    assert!(matches!(error, Error::NoAdapter { .. }), "{error}");
    // A folder.
    let options = LoadOptions::default();
    match Florence2::from_pretrained(common::fixture("adapters/notebook"), options) {
        Err(Error::IsAdapter { base, .. }) => assert_eq!(base, "base-like"),
        other => panic!("{:?}", other.err()),
    }
}
