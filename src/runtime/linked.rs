//! ONNX Runtime that the application links, or that `ort` loads by itself: in place of `load` without the feature
//! `load-dynamic`.

use std::path::{Path, PathBuf};

use ort::session::builder::SessionBuilder;

use super::environment::{RuntimeInfo, RuntimeOptions};
use crate::error::{Error, Result};

/// The path is unknown.
pub(super) fn loaded() -> Option<&'static Path> {
    None
}

/// Rejects a library that is to be loaded.
pub(super) fn load(options: &RuntimeOptions) -> Result<Option<PathBuf>> {
    match &options.library {
        None => Ok(None),
        Some(_) => Err(Error::InvalidOption {
            name: "library",
            reason: "this program was built without feature `load-dynamic` of the crate florence2, and loads no library"
                .into(),
        }),
    }
}

pub(super) fn warn_if_another_is_wanted(_: &RuntimeOptions, _: Option<&Path>) {}

pub(super) fn version(_: &Path) -> Option<String> {
    None
}

/// Only ONNX Runtime 1.22 outside Windows needs it, and its function is known of libraries with a path only.
pub(super) fn register_cpu_provider(_: &mut SessionBuilder, _: &RuntimeInfo) -> ort::Result<()> {
    Ok(())
}
