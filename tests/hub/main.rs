//! Models by their id, from a hub on this machine.
#![cfg(all(feature = "fetch-runtime", feature = "hub"))]

mod cache;
mod faults;
mod images;
mod loading;
mod server;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use florence2::hub::{Prepared, prepare};
use florence2::{HubOptions, LoadOptions, ModelId};
use server::{ID, Server};
use tempfile::TempDir;

/// A machine with an empty cache, and a hub.
struct Machine {
    dir: TempDir,
    server: Server,
}

/// Returns pseudo-random bytes.
fn bytes(length: usize, seed: u32) -> Vec<u8> {
    let mut state = seed.wrapping_add(1);
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..length).map(next).collect()
}

/// Returns the files of a deployment, with arbitrary contents.
fn deployment() -> Vec<(String, Vec<u8>)> {
    let mut files = vec![
        ("README.md".to_owned(), bytes(2000, 1)),
        (
            "config.json".to_owned(),
            br#"{"model_type": "florence2"}"#.to_vec(),
        ),
        ("tokenizer.json".to_owned(), bytes(5000, 2)),
    ];
    let graphs = [
        "vision_encoder",
        "embed_tokens",
        "encoder_model",
        "decoder_model",
        "decoder_model_merged",
        "decoder_with_past_model",
    ];
    for (seed, graph) in graphs.into_iter().enumerate() {
        for (offset, dtype) in ["", "_q4"].into_iter().enumerate() {
            let seed = 10 + 2 * seed + offset;
            files.push((
                format!("onnx/{graph}{dtype}.onnx"),
                bytes(20_000 + seed, seed as u32),
            ));
        }
    }
    files.push(("onnx/vision_encoder.onnx_data".to_owned(), bytes(300_000, 3)));
    files
}

impl Machine {
    fn new(files: impl IntoIterator<Item = (impl Into<String>, impl Into<Vec<u8>>)>) -> Self {
        Self {
            dir: TempDir::new().unwrap(),
            server: Server::new(files),
        }
    }

    fn cache(&self) -> PathBuf {
        self.dir.path().join("hub")
    }

    fn hub(&self) -> HubOptions {
        let mut options = HubOptions::default()
            .with_cache_dir(self.cache())
            .with_export_dir(self.dir.path().join("own"))
            .with_endpoint(&self.server.endpoint)
            .with_token("hf_test")
            .with_offline(false);
        options.retry_delay = Duration::from_millis(1);
        options.stall = Duration::from_secs(5);
        options
    }

    fn options(&self) -> LoadOptions {
        LoadOptions::default().with_hub(self.hub())
    }

    fn offline(&self) -> LoadOptions {
        LoadOptions::default().with_hub(self.hub().with_offline(true))
    }

    fn prepare(&self) -> florence2::Result<Prepared> {
        prepare(&id(), &self.options())
    }

    /// Returns the files in the folder of the commit.
    fn snapshot(&self) -> Vec<String> {
        files_in(&self.repository().join("snapshots").join(server::COMMIT))
    }

    fn repository(&self) -> PathBuf {
        self.cache().join("models--org--florence")
    }

    /// Returns the names of the blobs.
    fn blobs(&self) -> Vec<String> {
        files_in(&self.repository().join("blobs"))
    }

    /// Checks that the cached files have the hub's bytes.
    fn assert_whole(&self, files: &[String]) {
        for file in files {
            let path = self
                .repository()
                .join("snapshots")
                .join(server::COMMIT)
                .join(file);
            assert!(fs::read(&path).unwrap() == self.server.bytes(file), "{file}");
        }
    }
}

fn id() -> ModelId {
    ID.parse().unwrap()
}

fn files_in(folder: &Path) -> Vec<String> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().into_string().unwrap();
        match fs::metadata(entry.path()) {
            Ok(found) if found.is_dir() => {
                let inside = files_in(&entry.path());
                files.extend(inside.into_iter().map(|file| format!("{name}/{file}")));
            }
            Ok(_) => files.push(name),
            Err(error) => panic!("{name}: {error}"),
        }
    }
    files.sort();
    files
}
