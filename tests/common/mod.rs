//! Shared by the integration tests.
#![allow(dead_code)] // not every test program uses all of it

pub mod golden;
pub mod graphs;
pub mod own_process;

use std::path::{Path, PathBuf};

use florence2::runtime::{self, RuntimeInfo, RuntimeOptions};

/// Starts ONNX Runtime, found on this machine or fetched into the cache by the first test.
pub fn runtime() -> &'static RuntimeInfo {
    runtime::init_or_fetch(&RuntimeOptions::default(), &|_| {}).unwrap_or_else(|error| panic!("{error}"))
}

/// Returns an error's message and those of its causes, joined by `: `.
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// A committed fixture.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}
