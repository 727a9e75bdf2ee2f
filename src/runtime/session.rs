//! Building a session from a graph.

use std::path::PathBuf;

use florence2_layout::graphs::ModelPart;
use ort::editor::Model;
use ort::environment::Environment;
use ort::logging::LogLevel;
use ort::session::builder::{AutoDevicePolicy, GraphOptimizationLevel, SessionBuilder};
use ort::session::{RunOptions, Session};

use super::cpu_provider;
use super::device::{Device, Devices, ProviderOption, register};
use super::environment::{RuntimeInfo, environment, running};
use super::graph_source::GraphSource;
use super::log;
use super::own_operators::add_operators;
use super::placement::{Listener, Placement};
use crate::error::{Error, Result};
use crate::per_part::PerPart;

/// How a graph is to be run.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionOptions {
    /// Threads within an operator; `None`: one per physical core, or, where the application's environment has a thread
    /// pool for all sessions, that pool.
    pub intra_threads: Option<usize>,
    /// Whether idle threads spin, for a shorter wait in exchange for a busy processor. It hurts where the processor
    /// is shared.
    pub spinning: bool,
    /// How far the graph is rewritten at loading.
    pub optimization_level: OptimizationLevel,
    /// Optimizers to leave out, by ONNX Runtime's names for them (`SimplifiedLayerNormFusion`).
    pub disabled_optimizers: Vec<String>,
    /// Whether the processor's memory for intermediate results is given back after each run, instead of being kept for
    /// the next. For the base model's 8-bit graphs that is 110 MB between answers, and does not lower the most that is
    /// needed while one is made.
    pub release_memory: bool,
    /// The devices to use.
    pub devices: PerPart<Devices>,
    /// Options for the devices' providers, beside ours; of several with one name the last counts.
    pub provider_options: Vec<ProviderOption>,
    /// Whether what none of the devices takes runs on the processor where that is not among them. Without, such a graph
    /// is refused; most graphs have something for it, if only sums over shapes.
    pub cpu_fallback: bool,
    /// Whether the caches of a `plain` decoder stay in its device's memory from step to step, where they are also put into
    /// the beams' order and the best scores are chosen; else they travel to the processor's memory and back. `None`: if
    /// the device has memory of its own.
    pub device_caches: Option<bool>,
    /// Whether graphs that have operators of ours (`florence2 export --target cpu`) run with this crate's kernels for
    /// them; they are for the processor only. Without, ONNX Runtime runs what the graph says that they mean: the same, in
    /// more steps.
    pub own_operators: bool,
    /// Write a profile of each operator, to a file with this prefix, when the session ends.
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
            provider_options: Vec::new(),
            cpu_fallback: true,
            device_caches: None,
            own_operators: true,
            profiling: None,
        }
    }
}

impl SessionOptions {
    /// Whether a decoder of the `plain` layout suits the devices better than one of the `step` layout.
    pub(crate) fn wants_plain_decoder(&self) -> Result<bool> {
        Ok(!self.devices.of(ModelPart::Decoder).is_cpu()?)
    }

    /// Whether all graphs' first devices are such that compute best in 16-bit floats.
    pub(crate) fn float16_suits(&self) -> Result<bool> {
        for part in ModelPart::ALL {
            let first = self.devices.of(part).resolve()?.first().copied();
            if !first.is_some_and(|device| device.kind().spec().float16) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Leaves an optimizer out.
    pub(crate) fn without_optimizer(mut self, name: &str) -> Self {
        self.disabled_optimizers.push(name.to_owned());
        self
    }
}

/// How far ONNX Runtime rewrites a graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum OptimizationLevel {
    /// Not at all.
    Disabled,
    /// Constants folded, what does nothing removed.
    Basic,
    /// Operators fused as well.
    Extended,
    /// Everything, memory layouts included.
    #[default]
    All,
}

/// ONNX Runtime's key for the folder of a model's external data where the model itself is given from memory
/// (`kOrtSessionOptionsModelExternalInitializersFileFolderPath`).
const EXTERNAL_DATA_FOLDER: &str = "session.model_external_initializers_file_folder_path";

/// Loads a graph, ready to run, on [the devices for all graphs](PerPart::for_all). ONNX Runtime is started with the default
/// options if it is not running yet.
///
/// # Errors
/// What [`init`](super::init) returns; [`Error::DeviceUnusable`] if a device cannot be used; [`Error::Io`] if the file
/// cannot be read; [`Error::InvalidGraph`] if it is a pointer of Git LFS; [`Error::Ort`] if ONNX Runtime rejects the graph
/// (damaged, cut short, of unknown operators, a session already) or an option.
pub fn build_session(graph: &GraphSource, options: &SessionOptions) -> Result<Session> {
    load_session(graph, options).map(|(session, _)| session)
}

/// [`build_session`], with the placement of the graph's nodes.
pub(crate) fn load_session(graph: &GraphSource, options: &SessionOptions) -> Result<(Session, Placement)> {
    graph.check_readable()?;
    load(&graph.name(), Some(graph), options, |mut builder| match graph {
        GraphSource::File(path) => builder.commit_from_file(path),
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

/// A session of a graph that was put together here, called `name` in messages.
pub(crate) fn session_of_model(name: &str, model: Model, options: &SessionOptions) -> Result<Session> {
    load(name, None, options, |builder| model.into_session(&builder)).map(|(session, _)| session)
}

/// Makes a session by `commit`; `cached` is the graph of which providers may keep what they make.
fn load(
    name: &str,
    cached: Option<&GraphSource>,
    options: &SessionOptions,
    commit: impl FnOnce(SessionBuilder) -> ort::Result<Session>,
) -> Result<(Session, Placement)> {
    if options.intra_threads == Some(0) {
        return Err(Error::InvalidOption {
            name: "threads",
            reason: "must be 1 or more; leave it out for ONNX Runtime's choice".into(),
        });
    }
    let context = || format!("loading graph {name}");
    let (environment, runtime) = (environment()?, running()?);
    let devices = options.devices.for_all().resolve()?;
    let listener = Listener::default();
    let builder = configured(environment, runtime, options, &devices)
        .and_then(|builder| Ok(builder.with_logger(listener.logger())?));
    let builder = builder.map_err(Error::ort(context()))?;
    let builder = register(builder, runtime, cached, &devices, &options.provider_options)?;
    let session = commit(builder).map_err(|error| blame(&devices, error, context()))?;
    let placement = listener.placement(name.to_owned());
    placement.report(&devices);
    Ok((session, placement))
}

/// What went wrong: a device cannot be used, or, if they all can, `error`.
fn blame(devices: &[Device], error: ort::Error, context: String) -> Error {
    let unusable = devices.iter().find_map(|device| device.usable().err());
    // What ONNX Runtime says of a file that is no ONNX model, or only half of one.
    let is_damaged = ["Protobuf parsing failed", "No graph was found in the protobuf"]
        .iter()
        .any(|said| error.message().contains(said));
    let advice = match is_damaged {
        true => " (the file is damaged or cut off: fetch or export it again)",
        false => "",
    };
    unusable.unwrap_or_else(|| Error::ort(format!("{context}{advice}"))(error))
}

/// Whether sessions with these options know operators of our own: those are for the processor only.
fn uses_own_operators(options: &SessionOptions, devices: &[Device]) -> bool {
    options.own_operators && devices.iter().all(|device| device.is_cpu())
}

/// What a run is to be told: whether to give memory back when it ends ([`SessionOptions::release_memory`]).
pub(crate) fn run_options(release_memory: bool) -> Result<RunOptions> {
    let make = || {
        let mut options = RunOptions::new()?;
        if release_memory {
            options.set("memory.enable_memory_arena_shrinkage", "cpu:0")?;
        }
        // Else a run would log as much as the session's making did.
        if !log::details_are_read() {
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
        // By itself ONNX Runtime would choose an accelerator where it knows one (CoreML on macOS).
        .with_auto_device(AutoDevicePolicy::PreferCPU)?
        // The devices are what the options say, not what an application's environment adds.
        .with_no_environment_execution_providers()?
        .with_optimization_level(options.optimization_level.into())?
        // A memory layout would be kept for ever for each of a run's input shapes, of which the decoder has new ones with
        // each token.
        .with_memory_pattern(false)?
        .with_intra_op_spinning(options.spinning)?
        .with_inter_op_spinning(options.spinning)?
        // Threads that spin on after a run would take the processor from the next graph's.
        .with_config_entry("session.force_spinning_stop", "1")?
        // At this level only, ONNX Runtime says where it puts the nodes; the logger keeps the rest to itself.
        .with_log_level(LogLevel::Verbose)?;
    if devices.iter().all(|device| device.is_cpu()) {
        cpu_provider::register(&mut builder, runtime)?;
    }
    if !options.cpu_fallback && !devices.iter().any(|device| device.is_cpu()) {
        builder = builder.with_disable_cpu_fallback()?;
    }
    if uses_own_operators(options, devices) {
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

impl From<OptimizationLevel> for GraphOptimizationLevel {
    fn from(level: OptimizationLevel) -> Self {
        match level {
            OptimizationLevel::Disabled => GraphOptimizationLevel::Disable,
            OptimizationLevel::Basic => GraphOptimizationLevel::Level1,
            OptimizationLevel::Extended => GraphOptimizationLevel::Level2,
            OptimizationLevel::All => GraphOptimizationLevel::All,
        }
    }
}
