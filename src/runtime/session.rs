//! Building a session from a graph.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ort::environment::Environment;
use ort::logging::LogLevel;
use ort::session::builder::{AutoDevicePolicy, GraphOptimizationLevel, SessionBuilder};
use ort::session::{RunOptions, Session};

use super::cpu_provider;
use super::device::{Device, DeviceChoice, ProviderOption, register};
use super::environment::{RuntimeInfo, environment, running};
use super::placement::{Listener, Placement};
use crate::error::{Error, Result};
use crate::operators;

/// How a graph is to be run.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionOptions {
    /// Threads within an operator; `None`: one per physical core.
    pub intra_threads: Option<usize>,
    /// Threads between operators; `None`: ONNX Runtime's choice. Only graphs with parallel branches that are run in
    /// parallel use them.
    pub inter_threads: Option<usize>,
    /// Whether idle threads spin, for a shorter wait in exchange for a busy processor. It hurts where the processor
    /// is shared.
    pub spinning: bool,
    /// How far the graph is rewritten at loading.
    pub optimization_level: OptimizationLevel,
    /// Optimizers to leave out, by ONNX Runtime's names for them (`SimplifiedLayerNormFusion`).
    pub disabled_optimizers: Vec<String>,
    /// Whether memory is laid out by the first run's sizes, for graphs all of whose runs have the same shapes. Of the
    /// engine's graphs, only the vision encoder has; the others run without. On processors it is no faster, and takes
    /// 40 MB more for the base model's 8-bit graph.
    pub memory_pattern: bool,
    /// Whether the processor's memory for intermediate results is given back after each run, instead of being kept for
    /// the next. For the base model's 8-bit graphs that is 110 MB between answers, and does not lower the most that is
    /// needed while one is made.
    pub release_memory: bool,
    /// The devices to use.
    pub devices: DeviceChoice,
    /// Options for the devices' providers, beside ours; of several with one name the last counts.
    pub provider_options: Vec<ProviderOption>,
    /// Whether what none of the devices takes runs on the processor where that is not among them. Without, such a graph
    /// is refused; most graphs have something for it, if only sums over shapes.
    pub cpu_fallback: bool,
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
            inter_threads: None,
            spinning: true,
            optimization_level: OptimizationLevel::All,
            disabled_optimizers: Vec::new(),
            memory_pattern: false,
            release_memory: false,
            devices: DeviceChoice::default(),
            provider_options: Vec::new(),
            cpu_fallback: true,
            own_operators: true,
            profiling: None,
        }
    }
}

impl SessionOptions {
    /// For a graph whose runs have ever new shapes: a memory layout would be kept for each of them, for ever.
    pub(crate) fn with_changing_shapes(mut self) -> Self {
        self.memory_pattern = false;
        self
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

/// Where a graph comes from.
#[derive(Debug, Clone, Copy)]
pub enum GraphSource<'a> {
    /// A file; weights in files beside it are found.
    File(&'a Path),
    /// The bytes of a graph that carries its weights, and what to call it in messages.
    Bytes {
        /// What to call it.
        name: &'a str,
        /// The ONNX model.
        bytes: &'a [u8],
    },
}

impl GraphSource<'_> {
    /// What the graph is called in messages.
    pub fn name(&self) -> String {
        match self {
            GraphSource::File(path) => path.display().to_string(),
            GraphSource::Bytes { name, .. } => (*name).to_owned(),
        }
    }
}

/// Loads a graph, ready to run, on [the devices for all](DeviceChoice::all). ONNX Runtime is started with the default
/// options if it is not running yet.
///
/// # Errors
/// What [`init`](super::init) returns; [`Error::DeviceUnusable`] if a device cannot be used; [`Error::Io`] if the file
/// cannot be read; [`Error::Ort`] if ONNX Runtime refuses the graph (damaged, cut short, of an unknown kind) or an option.
pub fn build_session(graph: GraphSource<'_>, options: &SessionOptions) -> Result<Session> {
    load_session(graph, options).map(|(session, _)| session)
}

/// [`build_session`], and where the graph's nodes run.
pub(crate) fn load_session(graph: GraphSource<'_>, options: &SessionOptions) -> Result<(Session, Placement)> {
    if options.intra_threads == Some(0) || options.inter_threads == Some(0) {
        return Err(Error::InvalidOption {
            name: "threads",
            reason: "must be 1 or more; leave it out for ONNX Runtime's choice".into(),
        });
    }
    if let GraphSource::File(path) = graph {
        // ONNX Runtime's own message for this depends on the platform.
        std::fs::File::open(path).map_err(Error::io(path))?;
    }
    let context = || format!("loading graph {}", graph.name());
    let (environment, runtime) = (environment()?, running()?);
    let devices = options.devices.all().resolve()?;
    let listener = Listener::default();
    let builder = configured(environment, runtime, options, &devices)
        .and_then(|builder| Ok(builder.with_logger(listener.logger())?));
    let builder = builder.map_err(Error::ort(context()))?;
    let mut builder = register(builder, graph, &devices, &options.provider_options)?;
    let mut alone = uses_own_operators(options, &devices)
        .then(alone_until_known)
        .flatten();
    let session = match graph {
        GraphSource::File(path) => builder.commit_from_file(path),
        GraphSource::Bytes { bytes, .. } => builder.commit_from_memory(bytes),
    };
    let session = session.map_err(|error| blame(&devices, error, context()))?;
    if let Some(known) = &mut alone {
        **known = true;
    }
    let placement = listener.placement(graph.name());
    placement.report(&devices);
    Ok((session, placement))
}

/// What went wrong: a device cannot be used, or, if they all can, `error`.
fn blame(devices: &[Device], error: ort::Error, context: String) -> Error {
    let unusable = devices.iter().find_map(|device| device.usable().err());
    unusable.unwrap_or_else(|| Error::ort(context)(error))
}

/// The first session with operators of our own enters their domain into a table of the process, without a lock: two at
/// once would fail. This is the right to be alone until one has been made; `None` if one has.
fn alone_until_known() -> Option<MutexGuard<'static, bool>> {
    static DOMAIN_IS_KNOWN: Mutex<bool> = Mutex::new(false);
    let known = DOMAIN_IS_KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    (!*known).then_some(known)
}

/// Whether sessions with these options know operators of our own: those are for the processor only.
fn uses_own_operators(options: &SessionOptions, devices: &[Device]) -> bool {
    options.own_operators && devices.iter().all(|device| device.is_cpu())
}

/// What a run of a session with these options is to be told; `None` if nothing.
pub(crate) fn run_options(options: &SessionOptions) -> Result<Option<RunOptions>> {
    if !options.release_memory {
        return Ok(None);
    }
    let shrinking = || {
        let mut run = RunOptions::new()?;
        run.set("memory.enable_memory_arena_shrinkage", "cpu:0")?;
        Ok(run)
    };
    shrinking()
        .map(Some)
        .map_err(Error::ort("setting options of a run"))
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
        .with_memory_pattern(options.memory_pattern)?
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
    if uses_own_operators(options, devices)
        && let Some(domain) = operators::domain()?
    {
        builder = builder.with_operators(domain)?;
    }
    if let Some(threads) = options.intra_threads {
        builder = builder.with_intra_threads(threads)?;
    }
    if let Some(threads) = options.inter_threads {
        builder = builder.with_inter_threads(threads)?;
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
