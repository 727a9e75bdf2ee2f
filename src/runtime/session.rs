//! Building a session from a graph.

use std::path::PathBuf;

use florence2_layout::graphs::ModelPart;
use florence2_layout::setters;
use ort::editor::Model;
use ort::environment::Environment;
use ort::ep::ExecutionProviderDispatch;
use ort::logging::LogLevel;
use ort::session::builder::{AutoDevicePolicy, GraphOptimizationLevel, SessionBuilder};
use ort::session::{RunOptions, Session};

use super::custom_operators::add_operators;
use super::device::{Device, Devices, ExecutionProviders, ProviderOption, register};
use super::environment::{RuntimeInfo, environment, running};
use super::graph_source::{CheckedGraph, GraphSource};
use super::placement::{Listener, Placement};
use super::{load, log};
use crate::error::{Error, Result};
use crate::per_part::PerPart;

/// Options for running a graph.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SessionOptions {
    /// The number of threads; `None`: one per physical core, or the thread pool of the application's environment, if that
    /// has one for all sessions.
    pub intra_threads: Option<usize>,
    /// Whether idle threads spin: shorter waits, but a busy CPU, which hurts if it is shared.
    pub spinning: bool,
    /// The level of graph optimization at loading.
    pub optimization_level: OptimizationLevel,
    /// The graph optimizers to disable, by ONNX Runtime's names (`SimplifiedLayerNormFusion`).
    pub disabled_optimizers: Vec<String>,
    /// Whether the CPU memory for intermediate results is released after each run, instead of being kept for the next. For
    /// the base model's 8-bit graphs that is 110 MB between answers; peak memory stays the same.
    pub release_memory: bool,
    /// The devices, by part of the model.
    pub devices: PerPart<Devices>,
    /// Providers that are registered before those of [`devices`](Self::devices), for all graphs: those that
    /// [`DeviceKind`](super::DeviceKind) does not name, with the options that the application has set. One that cannot be
    /// registered is left out with a log message, or is an error if it was built with `error_on_failure`. A decoder of the
    /// fused layout runs without them.
    pub execution_providers: ExecutionProviders,
    /// Options for the devices' providers; the last of several with the same name is used.
    pub provider_options: Vec<ProviderOption>,
    /// Whether nodes that no listed device supports may fall back to the CPU. If `false`, loading such a graph is an
    /// error; most graphs have such nodes, at least for shape computations.
    pub cpu_fallback: bool,
    /// Whether the KV cache stays in the device's memory between decoder steps, where beams are also reordered and the top-k
    /// logits selected. If `false`, it is copied to the CPU's memory and back in each step. `None` is `true` for devices with
    /// their own memory, `false` for others. Applies to decoders in the layout of onnx-community; those of the fused layout
    /// keep the cache where they run.
    pub device_caches: Option<bool>,
    /// Whether graphs with this crate's custom operators (`florence2 export --target cpu`) run with its kernels, on the CPU
    /// only. If `false`, ONNX Runtime runs the operators' function bodies in the graph, which compute the same in more
    /// steps.
    pub custom_operators: bool,
    /// The prefix of the file to which a profile of each operator is written when the session ends.
    pub profiling: Option<PathBuf>,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self {
            intra_threads: None,
            spinning: true,
            optimization_level: OptimizationLevel::All,
            disabled_optimizers: Vec::new(),
            release_memory: false,
            devices: PerPart::default(),
            execution_providers: ExecutionProviders::default(),
            provider_options: Vec::new(),
            cpu_fallback: true,
            device_caches: None,
            custom_operators: true,
            profiling: None,
        }
    }
}

setters! { SessionOptions {
    with_intra_threads(intra_threads: usize) = Some(intra_threads);
    with_spinning(spinning: bool);
    with_optimization_level(optimization_level: OptimizationLevel);
    with_disabled_optimizers(disabled_optimizers: impl IntoIterator<Item = impl Into<String>>)
        = disabled_optimizers.into_iter().map(Into::into).collect();
    with_release_memory(release_memory: bool);
    with_devices(devices: impl Into<PerPart<Devices>>) = devices.into();
    with_execution_providers(execution_providers: impl IntoIterator<Item = ExecutionProviderDispatch>)
        = execution_providers.into_iter().collect();
    with_provider_options(provider_options: impl Into<Vec<ProviderOption>>) = provider_options.into();
    with_cpu_fallback(cpu_fallback: bool);
    with_device_caches(device_caches: bool) = Some(device_caches);
    with_custom_operators(custom_operators: bool);
    with_profiling(profiling: impl Into<PathBuf>) = Some(profiling.into());
}}

impl SessionOptions {
    /// Returns `true` if a decoder of the plain layout suits the devices better than one of the fused layout.
    pub(crate) fn wants_plain_decoder(&self) -> Result<bool> {
        Ok(!self.is_cpu(ModelPart::Decoder)?)
    }

    /// Returns `true` if the graphs of `part` run on the CPU only, with ONNX Runtime's kernels and this crate's.
    pub(crate) fn is_cpu(&self, part: ModelPart) -> Result<bool> {
        Ok(self.execution_providers.is_empty() && self.devices.of(part).is_cpu()?)
    }

    /// Returns `true` if the first devices of all graphs prefer float16.
    pub(crate) fn float16_suits(&self) -> Result<bool> {
        for part in ModelPart::ALL {
            let first = self.devices.of(part).resolve()?.first().copied();
            if !first.is_some_and(|device| device.kind().spec().float16) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Disables an optimizer.
    pub(crate) fn without_optimizer(mut self, name: &str) -> Self {
        self.disabled_optimizers.push(name.to_owned());
        self
    }
}

/// The level of ONNX Runtime's graph optimization.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum OptimizationLevel {
    /// No optimization.
    Disabled,
    /// Constant folding and removal of redundant nodes.
    Basic,
    /// Operator fusion as well.
    Extended,
    /// All optimizations, including memory layouts.
    #[default]
    All,
}

/// ONNX Runtime's key for the folder of the external data of a model in memory
/// (`kOrtSessionOptionsModelExternalInitializersFileFolderPath`).
const EXTERNAL_DATA_FOLDER: &str = "session.model_external_initializers_file_folder_path";

/// Loads a graph on [the devices for all graphs](PerPart::for_all). ONNX Runtime is started with the default options if it
/// is not running yet.
///
/// # Errors
/// Errors of [`init`](super::init); [`Error::DeviceUnusable`] if a device cannot be used; [`Error::Io`] if the file
/// cannot be read; [`Error::InvalidGraph`] if it is a pointer of Git LFS, damaged or truncated, or has external data outside
/// its folder; [`Error::Ort`] if ONNX Runtime rejects the graph (unknown operators, a session already) or an option.
pub fn build_session(graph: &GraphSource, options: &SessionOptions) -> Result<Session> {
    let graph = CheckedGraph::new(graph.clone())?;
    load_session(&graph, options).map(|(session, _)| session)
}

/// [`build_session`], with the placement of the graph's nodes.
pub(crate) fn load_session(graph: &CheckedGraph, options: &SessionOptions) -> Result<(Session, Placement)> {
    let source = graph.source();
    load(&source.name(), Some(graph), options, |mut builder| match source {
        GraphSource::File(path) => {
            if graph.is_ort_format() {
                // Otherwise it is detected by the file's extension.
                builder = builder.with_config_entry("session.load_model_format", "ORT")?;
            }
            builder.commit_from_file(path)
        }
        GraphSource::Memory {
            model, external_data, ..
        } => {
            for (name, data) in external_data {
                builder = builder.with_external_initializer_file_in_memory(name, data.to_shared())?;
            }
            builder.commit_from_memory(model)
        }
        GraphSource::Repaired { model, folder, .. } => builder
            .with_config_entry(EXTERNAL_DATA_FOLDER, folder.to_string_lossy())?
            .commit_from_memory(model),
        GraphSource::Session(_) => Err(ort::Error::new("it is a session already")),
    })
}

/// Builds a session of a model from the model editor, called `name` in messages.
pub(crate) fn session_of_model(name: &str, model: Model, options: &SessionOptions) -> Result<Session> {
    load(name, None, options, |builder| model.into_session(&builder)).map(|(session, _)| session)
}

/// Builds a session by `commit`. `cached` is the graph that providers may cache.
fn load(
    name: &str,
    cached: Option<&CheckedGraph>,
    options: &SessionOptions,
    commit: impl FnOnce(SessionBuilder) -> ort::Result<Session>,
) -> Result<(Session, Placement)> {
    if options.intra_threads == Some(0) {
        return Err(Error::InvalidOption {
            name: "intra_threads",
            reason: "must be 1 or more, or not set".into(),
        });
    }
    let context = || format!("loading graph {name}");
    let (environment, runtime) = (environment()?, running()?);
    let devices = options.devices.for_all().resolve()?;
    let listener = Listener::default();
    let builder = configured(environment, runtime, options, &devices)
        .and_then(|builder| Ok(builder.with_logger(listener.logger())?));
    let builder = builder
        .and_then(|builder| Ok(builder.with_execution_providers(options.execution_providers.as_slice())?))
        .map_err(Error::ort(context()))?;
    let builder = register(builder, runtime, cached, &devices, &options.provider_options)?;
    let session = commit(builder).map_err(|error| cause(&devices, error, context()))?;
    let placement = listener.placement(name.to_owned());
    placement.report(&devices, &options.execution_providers);
    Ok((session, placement))
}

/// Returns the cause of `error`: a device that cannot be used, else the error itself.
fn cause(devices: &[Device], error: ort::Error, context: String) -> Error {
    let unusable = devices.iter().find_map(|device| device.usable().err());
    // ONNX Runtime's messages for a file that is not an ONNX model, or a truncated one.
    let is_damaged = ["Protobuf parsing failed", "No graph was found in the protobuf"]
        .iter()
        .any(|message| error.message().contains(message));
    let advice = if is_damaged {
        " (the file is damaged or truncated: fetch or export it again)"
    } else {
        ""
    };
    unusable.unwrap_or_else(|| Error::ort(format!("{context}{advice}"))(error))
}

/// Returns `true` if sessions with these options get the custom operators, which are for the CPU only.
fn uses_custom_operators(options: &SessionOptions, devices: &[Device]) -> bool {
    options.custom_operators && is_cpu_only(options, devices)
}

/// Returns `true` if sessions with these options have ONNX Runtime's CPU provider only.
fn is_cpu_only(options: &SessionOptions, devices: &[Device]) -> bool {
    options.execution_providers.is_empty() && devices.iter().all(|device| device.is_cpu())
}

/// Returns the options of a run; `release_memory` as [`SessionOptions::release_memory`].
pub(crate) fn run_options(release_memory: bool) -> Result<RunOptions> {
    let make = || {
        let mut options = RunOptions::new()?;
        if release_memory {
            options.set("memory.enable_memory_arena_shrinkage", "cpu:0")?;
        }
        // By default a run logs at the session's level, which is verbose.
        if !log::details_are_logged() {
            options.set_log_level(LogLevel::Warning)?;
        }
        Ok(options)
    };
    make().map_err(Error::ort("making the options of a run"))
}

fn configured(
    environment: &Environment,
    runtime: &RuntimeInfo,
    options: &SessionOptions,
    devices: &[Device],
) -> ort::Result<SessionBuilder> {
    let mut builder = Session::builder(environment)?
        // By default ONNX Runtime selects an accelerator if it knows one (CoreML on macOS).
        .with_auto_device(AutoDevicePolicy::PreferCPU)?
        // The options name the devices; those of an application's environment are not added.
        .with_no_environment_execution_providers()?
        .with_optimization_level(options.optimization_level.to_ort())?
        // A memory layout would be kept for ever for each of a run's input shapes, of which the decoder has new ones with
        // each token.
        .with_memory_pattern(false)?
        .with_intra_op_spinning(options.spinning)?
        .with_inter_op_spinning(options.spinning)?
        // Threads that keep spinning after a run would take the CPU from the next graph's.
        .with_config_entry("session.force_spinning_stop", "1")?
        // ONNX Runtime logs the placement of nodes only at this level; the logger drops other messages.
        .with_log_level(LogLevel::Verbose)?;
    if is_cpu_only(options, devices) {
        load::register_cpu_provider(&mut builder, runtime)?;
    }
    let has_device = !options.execution_providers.is_empty() || !devices.iter().any(|device| device.is_cpu());
    if !options.cpu_fallback && has_device {
        builder = builder.with_disable_cpu_fallback()?;
    }
    if uses_custom_operators(options, devices) {
        builder = add_operators(builder, environment, runtime)?;
    }
    if let Some(threads) = options.intra_threads {
        // Without a pool of its own, the session would use the environment's threads, whatever their number.
        builder = builder
            .with_independent_thread_pool()?
            .with_intra_threads(threads)?;
    }
    if !options.disabled_optimizers.is_empty() {
        builder = builder.with_disabled_optimizers(options.disabled_optimizers.join(";"))?;
    }
    if let Some(prefix) = &options.profiling {
        builder = builder.with_profiling(prefix)?;
    }
    Ok(builder)
}

impl OptimizationLevel {
    fn to_ort(self) -> GraphOptimizationLevel {
        match self {
            OptimizationLevel::Disabled => GraphOptimizationLevel::Disable,
            OptimizationLevel::Basic => GraphOptimizationLevel::Level1,
            OptimizationLevel::Extended => GraphOptimizationLevel::Level2,
            OptimizationLevel::All => GraphOptimizationLevel::All,
        }
    }
}
