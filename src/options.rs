//! Options of loading and running a model.

#[cfg(feature = "hub")]
pub(crate) mod hub;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use florence2_layout::setters;

use crate::bundle::{DeploymentNames, Dtype, DtypePreference, GraphFile};
use crate::cancel::CancelToken;
use crate::error::{Error, Result};
use crate::generation::{GenerationOptions, LogitsProcessor, LogitsProcessors};
use crate::per_part::PerPart;
use crate::postprocess::ParseOptions;
use crate::preprocess::ImageBackend;
use crate::runtime::{self, RuntimeOptions, SessionOptions, SharedSession};
#[cfg(feature = "hub")]
use hub::HubOptions;

/// Options of loading a model.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LoadOptions {
    /// Options of starting ONNX Runtime, if it is not started yet.
    pub runtime: RuntimeOptions,
    /// Options of the graphs' sessions.
    pub session: SessionOptions,
    /// The data type of the graphs to load, if there are several.
    pub dtype: PerPart<Dtype>,
    /// The names of the model's files and tensors, if they are neither built in nor in its `florence2.json`.
    pub names: Option<DeploymentNames>,
    /// The image library whose arithmetic prepares images.
    pub image_backend: ImageBackend,
    /// The application's own sessions of graphs, which it may continue to use. Their graphs need no files, and
    /// [`session`](Self::session)'s options of loading do not apply to them.
    pub sessions: BTreeMap<GraphFile, SharedSession>,
    /// Whether graphs with known export errors are repaired when loaded: see
    /// [`Florence2::repair`](crate::Florence2::repair). Files are not changed, and the application's
    /// [sessions](Self::sessions) not repaired.
    pub repair: bool,
    /// Options of fetching models from a hub.
    #[cfg(feature = "hub")]
    pub hub: HubOptions,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            runtime: RuntimeOptions::default(),
            session: SessionOptions::default(),
            dtype: PerPart::default(),
            names: None,
            sessions: BTreeMap::new(),
            repair: true,
            image_backend: ImageBackend::default(),
            #[cfg(feature = "hub")]
            hub: HubOptions::default(),
        }
    }
}

setters! { LoadOptions {
    with_runtime(runtime: RuntimeOptions);
    with_session(session: SessionOptions);
    with_dtype(dtype: PerPart<Dtype>);
    with_names(names: DeploymentNames) = Some(names);
    with_image_backend(image_backend: ImageBackend);
    with_sessions(sessions: BTreeMap<GraphFile, SharedSession>);
    with_repair(repair: bool);
    #[cfg(feature = "hub")]
    with_hub(hub: HubOptions);
}}

impl LoadOptions {
    /// Returns the runtime options, by default for the devices of the graphs.
    pub(crate) fn runtime_for_devices(&self) -> RuntimeOptions {
        let mut runtime = self.runtime.clone();
        if runtime.devices.is_empty() {
            runtime.devices = self.session.devices.kinds();
        }
        runtime
    }

    /// Returns the dtypes of the graphs to load, which depend on the available devices.
    pub(crate) fn dtypes(&self) -> Result<DtypePreference> {
        let session = &self.session;
        if session.devices.is_auto() {
            // The loaded library determines the available devices.
            runtime::init(&self.runtime_for_devices())?;
        }
        Ok(DtypePreference::from(self.dtype.clone()).with_float16_first(session.float16_suits()?))
    }

    /// Adds a [session](Self::sessions) of the application.
    #[must_use]
    pub fn with_shared_session(mut self, graph: GraphFile, session: SharedSession) -> Self {
        self.sessions.insert(graph, session);
        self
    }
}

/// Options of a request.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RunOptions {
    /// Overrides of the checkpoint's generation settings.
    pub generation: GenerationOptions,
    /// Change the scores of each next token: constraints, biases, bans. All scores are then copied from a device in each step.
    pub logits_processors: LogitsProcessors,
    /// How the answer is parsed; the default is the checkpoint's
    /// [`Florence2::parse_options`](crate::Florence2::parse_options).
    pub parse: Option<ParseOptions>,
    /// Cancels the work from any thread.
    pub cancel: Option<CancelToken>,
    /// The time at which the work ends with [`Error::DeadlineExceeded`](crate::Error::DeadlineExceeded). It is checked before
    /// each graph's run, so the work may end late by one run, at most of the vision encoder.
    pub deadline: Option<Instant>,
    /// The maximum number of requests of a batch that are decoded at the same time; the other requests wait. Larger
    /// batches are faster, as each step reads the decoder's weights once for all requests, and take more memory: for
    /// the base model at 768×768 pixels, 22 MB per request, and 36 kB per beam and token.
    pub max_batch: usize,
    /// Whether [`Florence2::stream`](crate::Florence2::stream) leaves out `<s>`, `</s>` and `<pad>`, as it does by default.
    /// Location tokens remain. [`Output::raw_text`](crate::Output::raw_text) has all tokens.
    pub skip_special_tokens: bool,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            generation: GenerationOptions::default(),
            logits_processors: LogitsProcessors::default(),
            parse: None,
            cancel: None,
            deadline: None,
            max_batch: 8,
            skip_special_tokens: true,
        }
    }
}

setters! { RunOptions {
    with_generation(generation: GenerationOptions);
    with_logits_processors(logits_processors: LogitsProcessors);
    with_parse(parse: ParseOptions) = Some(parse);
    with_cancel(cancel: CancelToken) = Some(cancel);
    with_deadline(deadline: Instant) = Some(deadline);
    with_max_batch(max_batch: usize);
    with_skip_special_tokens(skip_special_tokens: bool);
}}

impl RunOptions {
    /// Adds one of the [`logits_processors`](Self::logits_processors), to run after the others.
    ///
    /// ```
    /// use florence2::RunOptions;
    ///
    /// // Token 50 is never generated, token 51 is likelier.
    /// let options = RunOptions::default().with_logits_processor(|_: &[u32], scores: &mut [f32]| {
    ///     scores[50] = f32::NEG_INFINITY;
    ///     scores[51] += 1.5;
    /// });
    /// ```
    #[must_use]
    pub fn with_logits_processor(mut self, processor: impl LogitsProcessor + 'static) -> Self {
        self.logits_processors.push(processor);
        self
    }

    /// Sets [`deadline`](Self::deadline) to `timeout` from now; there is none if the clock cannot represent it.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.deadline = Instant::now().checked_add(timeout);
        self
    }

    /// Returns the error with which the work must end now, if any.
    pub(crate) fn interruption(&self) -> Option<Error> {
        if self.cancel.as_ref().is_some_and(CancelToken::is_cancelled) {
            return Some(Error::Cancelled);
        }
        let is_late = self.deadline.is_some_and(|deadline| Instant::now() >= deadline);
        is_late.then_some(Error::DeadlineExceeded)
    }
}
