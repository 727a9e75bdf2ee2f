//! Loading ONNX Runtime and making its environment: once per process.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use florence2_layout::setters;
use ort::environment::Environment;
use ort::logging::LogLevel;

use super::library::{self, Locations};
use super::{DeviceKind, elf, log, telemetry};
use crate::error::{Error, Result};

/// Options for starting ONNX Runtime.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct RuntimeOptions {
    /// The library to load; `None` searches for one.
    pub library: Option<PathBuf>,
    /// The environment that the application has made with `ort`: there can be only one in a process.
    pub environment: Option<Environment>,
    /// The devices whose providers the library should have, the most important first: of several libraries, one with the
    /// first provider is preferred, then one with the second, then any. Only providers with a library of their own are
    /// known before ONNX Runtime is loaded (CUDA, TensorRT, ROCm, MIGraphX, OpenVINO). If it is empty, loading a model uses
    /// the model's devices.
    pub devices: Vec<DeviceKind>,
}

setters! { RuntimeOptions {
    with_library(library: impl Into<PathBuf>) = Some(library.into());
    with_environment(environment: Environment) = Some(environment);
    with_devices(devices: impl Into<Vec<DeviceKind>>) = devices.into();
}}

/// The ONNX Runtime that this process uses.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RuntimeInfo {
    /// The library; `None` if the application loaded it.
    pub path: Option<PathBuf>,
    /// The library's version, such as `1.32`; `None` if the application loaded it.
    pub version: Option<String>,
    /// The library's build: commit, build type, compiler flags.
    pub build: String,
}

struct Runtime {
    info: RuntimeInfo,
    environment: Environment,
}

/// Never reset: ONNX Runtime allows one environment in the life of a process.
static RUNTIME: OnceLock<Runtime> = OnceLock::new();
/// Locked while ONNX Runtime is being started.
static STARTING: Mutex<()> = Mutex::new(());

/// Starts ONNX Runtime if it is not running yet. After an error, other options may be tried.
///
/// After a success, all later calls return the same [`RuntimeInfo`], and log a warning if their options name another
/// library. If the application has loaded a library with `ort`, that library is used; if the application has made an
/// environment, it must be passed by [`RuntimeOptions::with_environment`].
///
/// Telemetry is disabled before the library is loaded, if the process has no other threads: see
/// [`disable_telemetry`](super::disable_telemetry).
///
/// # Errors
/// [`Error::RuntimeNotFound`] if no usable library is found, [`Error::RuntimeLoad`] if the one named in the options
/// or in `ORT_DYLIB_PATH` is unusable, [`Error::Ort`] if the application has made an environment that it did not
/// pass.
pub fn init(options: &RuntimeOptions) -> Result<&'static RuntimeInfo> {
    start(options).map(|runtime| &runtime.info)
}

/// Returns the process's environment; ONNX Runtime is started with the default options if it is not running yet.
pub(super) fn environment() -> Result<&'static Environment> {
    start(&RuntimeOptions::default()).map(|runtime| &runtime.environment)
}

/// Returns the ONNX Runtime of this process, started with the default options if it is not running yet.
pub(super) fn running() -> Result<&'static RuntimeInfo> {
    init(&RuntimeOptions::default())
}

fn start(options: &RuntimeOptions) -> Result<&'static Runtime> {
    let _starting = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(runtime) = RUNTIME.get() {
        warn_if_another_is_wanted(runtime, options);
        return Ok(runtime);
    }
    let runtime = match &options.environment {
        Some(environment) => Runtime {
            info: info(None),
            environment: environment.clone(),
        },
        None => {
            let path = if application_loaded_a_library() {
                None
            } else {
                Some(find_and_load(options)?)
            };
            if path.is_none()
                && let Some(asked) = &options.library
            {
                tracing::warn!(
                    ?asked,
                    "the application has loaded ONNX Runtime; a process can load only one"
                );
            }
            let environment = make_environment()?;
            let info = info(path);
            telemetry::warn_if_enabled(info.version.as_deref());
            Runtime { info, environment }
        }
    };
    tracing::debug!(path = ?runtime.info.path, version = ?runtime.info.version, "ONNX Runtime is running");
    Ok(RUNTIME.get_or_init(|| runtime))
}

fn warn_if_another_is_wanted(runtime: &Runtime, options: &RuntimeOptions) {
    if let Some(asked) = &options.library
        && runtime.info.path.as_ref() != Some(&library::absolute(asked))
    {
        tracing::warn!(
            ?asked,
            running = ?runtime.info.path,
            "ONNX Runtime is running already, from another library; a process can load only one"
        );
    }
    if let Some(asked) = &options.environment
        && !same(asked, &runtime.environment)
    {
        tracing::warn!("ONNX Runtime is running already, in another environment");
    }
}

fn same(a: &Environment, b: &Environment) -> bool {
    use ort::AsPointer;
    std::ptr::eq(a.ptr(), b.ptr())
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
        load,
    )
}

/// Loads the library, for the life of the process. The error is the reason.
fn load(path: &Path) -> Result<(), String> {
    use ort::LoadDynamicError as Load;
    if let Some(reason) = elf::truncation(path) {
        return Err(reason);
    }
    match ort::init_from(path) {
        Ok(_) => Ok(()),
        Err(Load::Dlopen { error, .. }) => Err(innermost(&error)),
        Err(Load::MissingApi { .. }) => Err("not an ONNX Runtime library".into()),
        Err(Load::InvalidVersionString) => Err("its version is not Unicode".into()),
        Err(Load::BadVersion { version_str, .. }) => Err(format!(
            "version {version_str} is too old: 1.{} or later is needed",
            ort::MINOR_VERSION
        )),
    }
}

/// Returns the innermost message, the system loader's: the outer one only says that loading failed.
fn innermost(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), innermost)
}

fn make_environment() -> Result<Environment> {
    let environment = ort::init()
        .with_name("florence2")
        .with_telemetry(false)
        .with_logger(log::logger())
        .build()
        .map_err(Error::ort(
            "making its environment: a process can have only one. If the application has made one, pass it by \
             RuntimeOptions::with_environment",
        ))?;
    // ONNX Runtime formats every message of its level, whether or not it is logged.
    if !log::details_are_logged() {
        environment.set_log_level(LogLevel::Warning);
    }
    Ok(environment)
}

fn info(path: Option<PathBuf>) -> RuntimeInfo {
    RuntimeInfo {
        version: path
            .as_deref()
            .and_then(ort::util::probe)
            .map(|minor| format!("1.{minor}")),
        path,
        build: ort::info().to_owned(),
    }
}
