//! The fetched files, and the layout of the cache.

use std::collections::BTreeSet;
use std::fs;
use std::sync::{Arc, Mutex};
use std::thread;

use florence2::hub::{HubProgress, cached_models, prepare};
use florence2::{CacheContent, Error, LoadOptions};
use florence2_layout::onnx::{EXTERNAL, GraphProto, ModelProto, TensorProto, entry};
use prost::Message;

use super::server::{COMMIT, etag};
use super::{Machine, deployment, id};

const FP32: [&str; 7] = [
    "config.json",
    "onnx/decoder_model_merged.onnx",
    "onnx/embed_tokens.onnx",
    "onnx/encoder_model.onnx",
    "onnx/vision_encoder.onnx",
    "onnx/vision_encoder.onnx_data",
    "tokenizer.json",
];

#[test]
fn needed_files_are_fetched_once() {
    let machine = Machine::new(deployment());
    let prepared = machine.prepare().unwrap();
    assert_eq!(machine.snapshot(), FP32);
    machine.assert_whole(&prepared.files);
    assert_eq!(prepared.commit, COMMIT);
    let bytes: usize = FP32.iter().map(|file| machine.server.bytes(file).len()).sum();
    assert_eq!(prepared.fetched_bytes, bytes as u64);
    let main = fs::read_to_string(machine.repository().join("refs/main")).unwrap();
    assert_eq!(main, COMMIT);
    assert_eq!(machine.blobs().len(), FP32.len());

    // The second time, only the listing is requested.
    machine.server.requests();
    assert_eq!(machine.prepare().unwrap().fetched_bytes, 0);
    let requests = machine.server.requests();
    assert_eq!(requests.len(), 1, "{requests:?}");
    assert!(requests[0].path.starts_with("/api/models/"), "{requests:?}");

    // Files that are cached are not fetched for another dtype.
    let q4 = machine.options().with_dtype("q4,vision=fp32".parse().unwrap());
    let more = prepare(&id(), &q4).unwrap();
    machine.assert_whole(&more.files);
    assert!(!more.files.contains(&"onnx/embed_tokens.onnx".to_owned()));
    let fetched = ["embed_tokens", "encoder_model", "decoder_model_merged"];
    let bytes: usize = fetched
        .iter()
        .map(|graph| machine.server.bytes(&format!("onnx/{graph}_q4.onnx")).len())
        .sum();
    assert_eq!(more.fetched_bytes, bytes as u64);
}

#[test]
fn the_cache_has_the_layout_of_the_hubs_own_tools() {
    let machine = Machine::new(deployment());
    machine.prepare().unwrap();
    let snapshot = machine.repository().join("snapshots").join(COMMIT);
    let config = etag(&machine.server.bytes("config.json"));
    let link = fs::read_link(snapshot.join("config.json"));
    let graph = fs::read_link(snapshot.join("onnx/encoder_model.onnx"));
    let blobs: BTreeSet<String> = machine.blobs().into_iter().collect();
    assert!(blobs.contains(&config), "{blobs:?}");
    if cfg!(unix) {
        assert_eq!(link.unwrap().to_str().unwrap(), format!("../../blobs/{config}"));
        let sha256 = etag(&machine.server.bytes("onnx/encoder_model.onnx"));
        assert_eq!(
            graph.unwrap().to_str().unwrap(),
            format!("../../../blobs/{sha256}")
        );
    }
}

#[test]
fn the_token_goes_to_the_hub_and_not_to_the_host_of_the_files() {
    let machine = Machine::new(deployment());
    machine.prepare().unwrap();
    let requests = machine.server.requests();
    for request in &requests {
        let expected = (!request.by_blob_host).then(|| "Bearer hf_test".to_owned());
        assert_eq!(request.token, expected, "{request:?}");
    }
    assert!(requests.iter().any(|request| request.by_blob_host));
}

#[test]
fn a_listing_without_checksums_is_completed_from_headers() {
    let machine = Machine::new(deployment());
    machine.server.list_names_only();
    let prepared = machine.prepare().unwrap();
    machine.assert_whole(&prepared.files);
    let heads = machine.server.requests();
    let heads = heads.iter().filter(|request| request.method == "HEAD");
    assert_eq!(heads.count(), FP32.len());
}

#[test]
fn concurrent_fetches_share_the_work() {
    // A thread may find files that another one is linking: several tries to hit such a moment.
    for _ in 0..5 {
        let machine = Arc::new(Machine::new(deployment()));
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let machine = machine.clone();
                thread::spawn(move || {
                    let prepared = machine.prepare().unwrap();
                    machine.assert_whole(&prepared.files);
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(machine.server.ranges("onnx/vision_encoder.onnx_data"), [None]);
    }
}

#[test]
fn progress_adds_up() {
    let machine = Machine::new(deployment());
    let seen = Arc::new(Mutex::new((0, 0, Vec::new())));
    let hub = machine.hub().with_progress({
        let seen = seen.clone();
        move |progress| {
            let mut seen = seen.lock().unwrap();
            match progress {
                HubProgress::Planned { bytes, .. } => seen.0 += bytes,
                HubProgress::Received { bytes, .. } => seen.1 += bytes,
                HubProgress::Finished { file } => seen.2.push(file.to_owned()),
                _ => {}
            }
        }
    });
    let prepared = prepare(&id(), &LoadOptions::default().with_hub(hub)).unwrap();
    let mut seen = seen.lock().unwrap();
    assert_eq!((seen.0, seen.1), (prepared.fetched_bytes, prepared.fetched_bytes));
    seen.2.sort();
    assert_eq!(seen.2, FP32);
}

#[test]
fn cached_files_are_used_without_network() {
    let machine = Machine::new(deployment());
    let absent = prepare(&id(), &machine.offline()).unwrap_err();
    assert!(matches!(absent, Error::NotCached { .. }), "{absent}");
    assert!(machine.server.requests().is_empty());

    let fetched = machine.prepare().unwrap();
    machine.server.requests();
    let cached = prepare(&id(), &machine.offline()).unwrap();
    assert_eq!(cached.folder, fetched.folder);
    assert!(machine.server.requests().is_empty());

    // The hub is down, or the address has no server.
    machine.server.fail_listing(Some((503, "")));
    assert_eq!(machine.prepare().unwrap().folder, fetched.folder);
    let nowhere = LoadOptions::default().with_hub(machine.hub().with_endpoint("http://127.0.0.1:1"));
    assert_eq!(prepare(&id(), &nowhere).unwrap().folder, fetched.folder);

    // Another dtype is not cached.
    let q4 = machine.offline().with_dtype("q4".parse().unwrap());
    let error = prepare(&id(), &q4).unwrap_err();
    assert!(
        matches!(&error, Error::NotCached { reason, .. } if reason.contains("_q4.onnx")),
        "{error}"
    );
    assert!(error.to_string().contains("hub::prepare"), "{error}");
}

#[test]
fn a_pinned_commit_is_not_stored_as_a_reference() {
    let machine = Machine::new(deployment());
    let pinned = format!("{}@{COMMIT}", super::ID).parse().unwrap();
    let fetched = prepare(&pinned, &machine.options()).unwrap();
    assert!(!machine.repository().join("refs").exists());
    let offline = prepare(&pinned, &machine.offline()).unwrap();
    assert_eq!(offline.folder, fetched.folder);
    let branch = prepare(&id(), &machine.offline()).unwrap_err();
    assert!(matches!(branch, Error::NotCached { .. }), "{branch}");
}

/// As `huggingface_hub` leaves it after `snapshot_download` with `allow_patterns`.
#[cfg(unix)]
#[test]
fn a_cache_that_python_wrote_is_used() {
    let machine = Machine::new(deployment());
    let repository = machine.repository();
    for file in FP32 {
        let bytes = machine.server.bytes(file);
        let etag = etag(&bytes);
        let link = repository.join("snapshots").join(COMMIT).join(file);
        fs::create_dir_all(repository.join("blobs")).unwrap();
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        fs::write(repository.join("blobs").join(&etag), &bytes).unwrap();
        let up = "../".repeat(2 + file.matches('/').count());
        std::os::unix::fs::symlink(format!("{up}blobs/{etag}"), link).unwrap();
    }
    fs::create_dir_all(repository.join("refs")).unwrap();
    fs::write(repository.join("refs/main"), COMMIT).unwrap();
    fs::create_dir_all(machine.cache().join(".locks/models--org--florence")).unwrap();
    fs::create_dir_all(repository.join(".no_exist").join(COMMIT)).unwrap();

    let prepared = prepare(&id(), &machine.offline()).unwrap();
    machine.assert_whole(&prepared.files);
    assert_eq!(machine.prepare().unwrap().fetched_bytes, 0);

    // A cache that Python wrote may lack files.
    fs::remove_file(prepared.folder.join("tokenizer.json")).unwrap();
    let error = prepare(&id(), &machine.offline()).unwrap_err();
    assert!(
        matches!(&error, Error::NotCached { reason, .. } if reason.contains("tokenizer.json")),
        "{error}"
    );
    assert_eq!(machine.prepare().unwrap().fetched_bytes, 0);
    machine.assert_whole(&prepared.files);
}

#[test]
fn cached_florence2_models_are_listed_and_removed() {
    let machine = Machine::new(deployment());
    machine.prepare().unwrap();
    let other = machine
        .cache()
        .join("models--someone--llama/snapshots")
        .join(COMMIT);
    fs::create_dir_all(&other).unwrap();
    fs::write(other.join("config.json"), r#"{"model_type": "llama"}"#).unwrap();

    let models = cached_models(&machine.hub()).unwrap();
    assert_eq!(models.len(), 1, "{models:?}");
    let CacheContent::Model {
        model,
        dtypes,
        has_checkpoint,
        ..
    } = &models[0].content
    else {
        panic!("{models:?}")
    };
    assert_eq!((model.as_str(), *has_checkpoint), (id().repository(), false));
    let dtypes: Vec<&str> = dtypes.iter().map(|dtype| dtype.name()).collect();
    assert_eq!(dtypes, ["fp32"]);
    let bytes: usize = FP32.iter().map(|file| machine.server.bytes(file).len()).sum();
    // The size of the reference to the commit is included.
    assert_eq!(models[0].bytes, (bytes + COMMIT.len()) as u64);

    assert!(models[0].remove().unwrap());
    assert!(!models[0].remove().unwrap());
    assert!(!machine.cache().join(".locks/models--org--florence").exists());
    assert!(cached_models(&machine.hub()).unwrap().is_empty());
    assert!(other.join("config.json").exists());
}

/// Returns a graph whose only tensor is in a file beside it.
fn graph_with_weights_in(file: &str) -> Vec<u8> {
    let tensor = TensorProto {
        external_data: vec![entry("location", file)],
        data_location: Some(EXTERNAL),
        ..TensorProto::default()
    };
    let graph = GraphProto {
        initializer: vec![tensor],
        ..GraphProto::default()
    };
    let model = ModelProto {
        graph: Some(graph),
        ..ModelProto::default()
    };
    model.encode_to_vec()
}

/// A graph names the files of its weights, which need not be called like the graph.
#[test]
fn weights_of_any_name_are_fetched_and_missed() {
    let mut files = deployment();
    for (path, bytes) in &mut files {
        if path == "onnx/embed_tokens.onnx" {
            *bytes = graph_with_weights_in("weights.bin");
        }
    }
    files.push(("onnx/weights.bin".to_owned(), vec![7; 5000]));
    let machine = Machine::new(files);
    let prepared = machine.prepare().unwrap();
    assert!(
        prepared.files.contains(&"onnx/weights.bin".to_owned()),
        "{:?}",
        prepared.files
    );
    machine.assert_whole(&prepared.files);
    for again in [machine.prepare(), prepare(&id(), &machine.offline())] {
        let again = again.unwrap();
        assert_eq!((again.fetched_bytes, again.files), (0, prepared.files.clone()));
    }

    fs::remove_file(
        machine
            .repository()
            .join("snapshots")
            .join(COMMIT)
            .join("onnx/weights.bin"),
    )
    .unwrap();
    let error = prepare(&id(), &machine.offline()).unwrap_err();
    assert!(
        matches!(error, Error::NotCached { .. }) && error.to_string().contains("weights.bin"),
        "{error}"
    );
    // Its contents are still among the blobs.
    assert_eq!(machine.prepare().unwrap().fetched_bytes, 0);
    prepare(&id(), &machine.offline()).unwrap();
}
