//! How a model is loaded and run.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::bundle::{Dtype, DtypePreference, GraphFile};
use crate::cancel::CancelToken;
use crate::error::{Error, Result};
use crate::generation::GenerationOptions;
#[cfg(feature = "hub")]
use crate::hub::HubOptions;
use crate::per_part::PerPart;
use crate::postprocess::ParseOptions;
use crate::preprocess::ImageBackend;
use crate::runtime::{self, RuntimeOptions, SessionOptions, SharedSession};

/// How a model is loaded.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LoadOptions {
    /// How ONNX Runtime is started, if it is not running yet.
    pub runtime: RuntimeOptions,
    /// How the graphs are run.
    pub session: SessionOptions,
    /// Which of a graph's files is loaded, where there are several types of it.
    pub dtype: PerPart<Dtype>,
    /// The image library whose arithmetic images are prepared with.
    pub image_backend: ImageBackend,
    /// Graphs that the application has loaded already, its own way, and may go on using. Their files need not be there.
    /// What [`session`](Self::session) says of how a graph is loaded is not for them.
    pub sessions: BTreeMap<GraphFile, SharedSession>,
    /// Whether a graph that is known to have been exported wrong is repaired when it is loaded: see
    /// [`Florence2::repair`](crate::Florence2::repair). Its file stays as it is. [Sessions](Self::sessions) of the application
    /// are not repaired.
    pub repair: bool,
    /// How a model on a hub is fetched.
    #[cfg(feature = "hub")]
    pub hub: HubOptions,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            runtime: RuntimeOptions::default(),
            session: SessionOptions::default(),
            dtype: PerPart::default(),
            sessions: BTreeMap::new(),
            repair: true,
            image_backend: ImageBackend::default(),
            #[cfg(feature = "hub")]
            hub: HubOptions::default(),
        }
    }
}

impl LoadOptions {
    /// How ONNX Runtime is started, if it is not running yet.
    #[must_use]
    pub fn with_runtime(mut self, runtime: RuntimeOptions) -> Self {
        self.runtime = runtime;
        self
    }

    /// How ONNX Runtime is started for the devices of the graphs, unless it is said for which.
    pub(crate) fn runtime_for_devices(&self) -> RuntimeOptions {
        let mut runtime = self.runtime.clone();
        if runtime.devices.is_empty() {
            runtime.devices = self.session.devices.kinds();
        }
        runtime
    }

    /// The types of the graphs to load, for the devices that there are.
    pub(crate) fn dtypes(&self) -> Result<DtypePreference> {
        let session = &self.session;
        if session.devices.is_auto() {
            // Which devices there are, the library says that is to be used.
            runtime::init(&self.runtime_for_devices())?;
        }
        Ok(DtypePreference::from(self.dtype.clone()).with_float16_first(session.float16_suits()?))
    }

    /// How the graphs are run.
    #[must_use]
    pub fn with_session(mut self, session: SessionOptions) -> Self {
        self.session = session;
        self
    }

    /// A graph that the application has loaded already.
    #[must_use]
    pub fn with_shared_session(mut self, graph: GraphFile, session: SharedSession) -> Self {
        self.sessions.insert(graph, session);
        self
    }

    /// Whether a graph that is known to have been exported wrong is repaired when it is loaded.
    #[must_use]
    pub fn with_repair(mut self, repair: bool) -> Self {
        self.repair = repair;
        self
    }

    /// How a model on a hub is fetched.
    #[cfg(feature = "hub")]
    #[must_use]
    pub fn with_hub(mut self, hub: HubOptions) -> Self {
        self.hub = hub;
        self
    }

    /// Which of a graph's files is loaded, where there are several types of it.
    #[must_use]
    pub fn with_dtype(mut self, dtype: PerPart<Dtype>) -> Self {
        self.dtype = dtype;
        self
    }

    /// The image library whose arithmetic images are prepared with.
    #[must_use]
    pub fn with_image_backend(mut self, backend: ImageBackend) -> Self {
        self.image_backend = backend;
        self
    }
}

/// How one request is answered.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RunOptions {
    /// Settings of the search that are to differ from the checkpoint's.
    pub generation: GenerationOptions,
    /// How the answer is read; `None`: as the checkpoint's processor configuration says
    /// ([`Florence2::parse_options`](crate::Florence2::parse_options)).
    pub parse: Option<ParseOptions>,
    /// Calls the work off when it is set, from any thread.
    pub cancel: Option<CancelToken>,
    /// When the answer is no longer wanted: the work then ends with
    /// [`Error::DeadlineExceeded`](crate::Error::DeadlineExceeded). It is looked at before each graph's run, so that
    /// what is asked too late ends at most one run (of the vision encoder, the longest) after it.
    pub deadline: Option<Instant>,
    /// How many of a batch's requests are decoded at the same time; the others wait until there is room. More are
    /// faster together, as each step reads the decoder's weights once for all of them, and take more memory: for the
    /// base model at 768×768 pixels 22 MB each, and 36 kB for each beam and token.
    pub max_batch: usize,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            generation: GenerationOptions::default(),
            parse: None,
            cancel: None,
            deadline: None,
            max_batch: 8,
        }
    }
}

impl RunOptions {
    /// Settings of the search that are to differ from the checkpoint's.
    #[must_use]
    pub fn with_generation(mut self, generation: GenerationOptions) -> Self {
        self.generation = generation;
        self
    }

    /// How the answer is read.
    #[must_use]
    pub fn with_parse(mut self, parse: ParseOptions) -> Self {
        self.parse = Some(parse);
        self
    }

    /// How many of a batch's requests are decoded at the same time.
    #[must_use]
    pub fn with_max_batch(mut self, max_batch: usize) -> Self {
        self.max_batch = max_batch;
        self
    }

    /// What calls the work off.
    #[must_use]
    pub fn with_cancel(mut self, cancel: CancelToken) -> Self {
        self.cancel = Some(cancel);
        self
    }

    /// When the answer is no longer wanted.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Instant) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// How long from now the answer is wanted; for ever, if that is longer than a clock can count.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.deadline = Instant::now().checked_add(timeout);
        self
    }

    /// Why the work is to end now, if it is.
    pub(crate) fn interruption(&self) -> Option<Error> {
        if self.cancel.as_ref().is_some_and(CancelToken::is_cancelled) {
            return Some(Error::Cancelled);
        }
        let is_late = self.deadline.is_some_and(|deadline| Instant::now() >= deadline);
        is_late.then_some(Error::DeadlineExceeded)
    }
}
