//! Loading ONNX Runtime and making its environment: once per process.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use ort::environment::Environment;
use ort::logging::LogLevel;

use super::library::{self, Places};
use super::{DeviceKind, elf, log, telemetry};
use crate::error::{Error, Result};

/// How to start ONNX Runtime.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct RuntimeOptions {
    /// The library to load, instead of looking for one.
    pub library: Option<PathBuf>,
    /// The environment that the application has made with `ort`, to be used as it is: there can be only one in a
    /// process.
    pub environment: Option<Environment>,
    /// Which devices' providers the library should have, the most wanted first: where there are several libraries, one with
    /// the first provider is taken, then one with the second, .., then any. Only providers that are libraries of their own,
    /// beside ONNX Runtime's, are known before it is loaded (CUDA, TensorRT, ROCm, MIGraphX, OpenVINO). Where it is empty, a
    /// model's loading fills in its own devices.
    pub devices: Vec<DeviceKind>,
}

impl RuntimeOptions {
    /// Load this library, and no other.
    pub fn with_library(mut self, path: impl Into<PathBuf>) -> Self {
        self.library = Some(path.into());
        self
    }

    /// Prefer a library that has these devices' providers.
    pub fn with_devices(mut self, devices: impl Into<Vec<DeviceKind>>) -> Self {
        self.devices = devices.into();
        self
    }

    /// Use the environment that the application has made.
    pub fn with_environment(mut self, environment: Environment) -> Self {
        self.environment = Some(environment);
        self
    }
}

/// The ONNX Runtime that this process uses.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RuntimeInfo {
    /// The library; `None` if the application loaded it.
    pub path: Option<PathBuf>,
    /// Its version, as `1.32`; `None` if the application loaded it.
    pub version: Option<String>,
    /// What the library says about its build: commit, build type, compiler flags.
    pub build: String,
}

struct Runtime {
    info: RuntimeInfo,
    environment: Environment,
}

/// Never emptied: ONNX Runtime allows one environment per process, ever.
static RUNTIME: OnceLock<Runtime> = OnceLock::new();
/// Held while the library is looked for.
static STARTING: Mutex<()> = Mutex::new(());

/// Starts ONNX Runtime, if it is not running yet. After an error, other options may be tried.
///
/// The first success stands for the life of the process: later calls return it whatever their options, with a
/// warning in the log if those name another library. A library or an environment that the application has made
/// with `ort` is kept; an environment must then be handed over ([`RuntimeOptions::with_environment`]).
///
/// ONNX Runtime's telemetry is disabled before the library is loaded where that is sound: see
/// [`disable_telemetry`](super::disable_telemetry).
///
/// # Errors
/// [`Error::RuntimeNotFound`] if no usable library is found, [`Error::RuntimeLoad`] if the one named in the options
/// or in `ORT_DYLIB_PATH` is unusable, [`Error::Ort`] if the application has made an environment that it did not
/// hand over.
pub fn init(options: &RuntimeOptions) -> Result<&'static RuntimeInfo> {
    start(options).map(|runtime| &runtime.info)
}

/// The process's environment, started with the default options if it is not running yet.
pub(super) fn environment() -> Result<&'static Environment> {
    match RUNTIME.get() {
        Some(runtime) => Ok(&runtime.environment),
        None => start(&RuntimeOptions::default()).map(|runtime| &runtime.environment),
    }
}

/// The ONNX Runtime that this process uses, started with the default options if it is not running yet.
pub(super) fn running() -> Result<&'static RuntimeInfo> {
    match RUNTIME.get() {
        Some(runtime) => Ok(&runtime.info),
        None => init(&RuntimeOptions::default()),
    }
}

fn start(options: &RuntimeOptions) -> Result<&'static Runtime> {
    let _starting = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(runtime) = RUNTIME.get() {
        warn_if_another_was_asked(runtime, options);
        return Ok(runtime);
    }
    let runtime = match &options.environment {
        Some(environment) => Runtime {
            info: info(None),
            environment: environment.clone(),
        },
        None => {
            let path = match application_loaded_a_library() {
                true => None,
                false => Some(find_and_load(options)?),
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

fn warn_if_another_was_asked(runtime: &Runtime, options: &RuntimeOptions) {
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

/// Whether `ort` has a library already. It has no such question in its interface, but `init_from` is `Ok` for any
/// path once a library is loaded, and a path with a NUL in it can never be loaded.
fn application_loaded_a_library() -> bool {
    ort::init_from(std::env::temp_dir().join("no\0library")).is_ok()
}

fn find_and_load(options: &RuntimeOptions) -> Result<PathBuf> {
    telemetry::disable_telemetry();
    let wanted = options.devices.iter().filter_map(|kind| kind.spec().library);
    let wanted: Vec<&str> = wanted.collect();
    library::find(&Places::of_this_process(options.library.clone()), &wanted, load)
}

/// Loads the library for good, or says what is wrong with it.
fn load(path: &Path) -> Result<(), String> {
    use ort::LoadDynamicError as Load;
    if let Some(reason) = elf::cut_short(path) {
        return Err(reason);
    }
    match ort::init_from(path) {
        Ok(_) => Ok(()),
        Err(Load::Dlopen { error, .. }) => Err(innermost(&error)),
        Err(Load::MissingApi { .. }) => Err("not an ONNX Runtime library".into()),
        Err(Load::InvalidVersionString) => Err("its version is not text".into()),
        Err(Load::BadVersion { version_str, .. }) => Err(format!(
            "version {version_str} is too old: 1.{} is the least",
            ort::MINOR_VERSION
        )),
    }
}

/// What the system's loader said: the outer message is only that it failed.
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
            "making its environment: a process can have only one, ever. If the application has made one, hand it over \
             (RuntimeOptions::with_environment)",
        ))?;
    // ONNX Runtime formats every message of its level, whether or not someone reads it.
    if !log::details_are_read() {
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
