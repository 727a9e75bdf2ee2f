//! Loading the ONNX Runtime library into `ort`: once per process.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

pub(super) use super::cpu_provider::register as register_cpu_provider;
use super::environment::{RuntimeOptions, starting};
use super::library::{self, Locations, Rejection};
use super::{elf, telemetry};
use crate::error::{Error, Result};

/// The library that this crate has loaded. Never reset: `ort` does not unload it.
static LOADED: OnceLock<PathBuf> = OnceLock::new();

/// Finds the library that [`init`](super::init) uses, and loads it for all crates of the process that use `ort`: whichever of
/// them makes the environment then makes it with this library. After a success, all later calls return the same path.
///
/// # Errors
/// [`Error::RuntimeNotFound`] and [`Error::RuntimeLoad`] as of [`init`](super::init); [`Error::InvalidOption`] if the
/// application has loaded a library itself, whose path is unknown.
pub fn find_library(options: &RuntimeOptions) -> Result<&'static Path> {
    let _starting = starting();
    load(options)?;
    loaded().ok_or_else(|| Error::InvalidOption {
        name: "library",
        reason: "the application has loaded ONNX Runtime itself: its path is not known here".into(),
    })
}

/// Returns the library that this crate has loaded, if it has.
pub(super) fn loaded() -> Option<&'static Path> {
    LOADED.get().map(PathBuf::as_path)
}

/// Loads the library if none is loaded yet. Returns its path; `None` if the application has loaded it. The caller holds
/// [`starting`].
pub(super) fn load(options: &RuntimeOptions) -> Result<Option<PathBuf>> {
    if loaded().is_none() && !application_loaded_a_library() {
        let path = find_and_load(options)?;
        return Ok(Some(LOADED.get_or_init(|| path).clone()));
    }
    warn_if_another_is_wanted(options, loaded());
    Ok(loaded().map(Path::to_owned))
}

/// Warns if the options name another library than the loaded one.
pub(super) fn warn_if_another_is_wanted(options: &RuntimeOptions, loaded: Option<&Path>) {
    if let Some(asked) = &options.library
        && loaded != Some(&library::absolute(asked))
    {
        tracing::warn!(
            ?asked,
            ?loaded,
            "ONNX Runtime is loaded already, from another library; a process can load only one"
        );
    }
}

/// Returns `true` if `ort` has loaded a library. `ort` has no function for this, but `init_from` succeeds for any path once a
/// library is loaded, and a path with a NUL can never be loaded.
fn application_loaded_a_library() -> bool {
    ort::init_from(std::env::temp_dir().join("no\0library")).is_ok()
}

fn find_and_load(options: &RuntimeOptions) -> Result<PathBuf> {
    telemetry::disable_telemetry();
    let wanted = options.devices.iter().filter_map(|kind| kind.spec().library);
    let wanted: Vec<&str> = wanted.collect();
    library::find(
        &Locations::of_this_process(options.library.clone()),
        &wanted,
        open,
    )
}

/// Loads a library, for the life of the process.
fn open(path: &Path) -> Result<(), Rejection> {
    use ort::LoadDynamicError as Load;
    if let Some(reason) = elf::truncation(path) {
        return Err(Rejection::Unusable(reason));
    }
    ort::init_from(path).map(drop).map_err(|error| match error {
        Load::Dlopen { error, .. } => Rejection::NotLoaded(innermost(&error)),
        Load::MissingApi { .. } => Rejection::Unusable("not an ONNX Runtime library".into()),
        Load::InvalidVersionString => Rejection::Unusable("its version is not Unicode".into()),
        Load::BadVersion { version_str, .. } => Rejection::Unusable(format!(
            "version {version_str} is too old: 1.{} or later is needed",
            ort::MINOR_VERSION
        )),
    })
}

/// Returns the innermost message, the system loader's: the outer one only says that loading failed.
fn innermost(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), innermost)
}

/// Returns a library's version, such as `1.32`.
pub(super) fn version(path: &Path) -> Option<String> {
    ort::util::probe(path).map(|minor| format!("1.{minor}"))
}
