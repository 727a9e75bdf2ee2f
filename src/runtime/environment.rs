//! Starting ONNX Runtime: its library, and the environment that all sessions share. Once per process.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use florence2_layout::setters;
use ort::environment::Environment;
use ort::logging::LogLevel;

use super::{DeviceKind, load, log, telemetry};
use crate::error::{Error, Result};

/// Options for starting ONNX Runtime.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct RuntimeOptions {
    /// The library to load; `None` searches for one. Without the feature `load-dynamic`, a library is an error.
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
    /// The library; `None` if the application has loaded or linked it.
    pub path: Option<PathBuf>,
    /// The library's version, such as `1.32`; `None` if the application has loaded or linked it.
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
/// or in `ORT_DYLIB_PATH` is unusable, [`Error::EnvironmentExists`] if the application has made an environment that it did
/// not pass.
pub fn init(options: &RuntimeOptions) -> Result<&'static RuntimeInfo> {
    start(options).map(|runtime| &runtime.info)
}

/// Returns the process's environment, for sessions of the application and for other crates that use `ort`, which can make no
/// other one. ONNX Runtime is started with the default options if it is not running yet; for others, call [`init`] first.
///
/// # Errors
/// As [`init`].
pub fn environment() -> Result<&'static Environment> {
    start(&RuntimeOptions::default()).map(|runtime| &runtime.environment)
}

/// Returns the ONNX Runtime of this process, started with the default options if it is not running yet.
pub(super) fn running() -> Result<&'static RuntimeInfo> {
    init(&RuntimeOptions::default())
}

/// Waits until no other thread is starting ONNX Runtime.
pub(super) fn starting() -> MutexGuard<'static, ()> {
    STARTING.lock().unwrap_or_else(PoisonError::into_inner)
}

fn start(options: &RuntimeOptions) -> Result<&'static Runtime> {
    let _starting = starting();
    if let Some(runtime) = RUNTIME.get() {
        warn_if_another_is_wanted(runtime, options);
        return Ok(runtime);
    }
    let runtime = match &options.environment {
        Some(environment) => Runtime {
            info: info(load::loaded().map(ToOwned::to_owned)),
            environment: environment.clone(),
        },
        None => {
            let path = load::load(options)?;
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
    load::warn_if_another_is_wanted(options, runtime.info.path.as_deref());
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

/// The message of `ort` if the process has an environment, even one that it has released.
const EXISTS: &str = "only one environment is allowed per process";

fn make_environment() -> Result<Environment> {
    let environment = ort::init()
        .with_name("florence2")
        .with_telemetry(false)
        .with_logger(log::logger())
        .build()
        .map_err(|error| match error.message() {
            EXISTS => Error::EnvironmentExists,
            _ => Error::ort("making its environment")(error),
        })?;
    // ONNX Runtime formats every message of its level, whether or not it is logged.
    if !log::details_are_logged() {
        environment.set_log_level(LogLevel::Warning);
    }
    Ok(environment)
}

fn info(path: Option<PathBuf>) -> RuntimeInfo {
    RuntimeInfo {
        version: path.as_deref().and_then(load::version),
        path,
        build: ort::info().to_owned(),
    }
}
