//! One loaded graph: a session that is locked only while it runs, and its signature.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use florence2_layout::graphs::{Attention, GraphFile, KeyValue, ModelPart, present};
use ort::session::{RunOptions, Session, SessionInputValue};
use ort::value::DynValue;

use super::checks::warn_of_saturation;
use super::optimizers::load_around_optimizers;
use super::profile::{ShapeProfile, load_with_profile};
use super::single_rows::{self, takes_single_rows};
use crate::bundle::Bundle;
use crate::cancel::CancelToken;
use crate::error::{Error, Result};
use crate::metrics::timed;
use crate::repair::check_positions;
use crate::runtime::{
    DeviceMemory, GraphSignature, GraphSource, Placement, SessionOptions, SharedSession, TensorSpec,
    load_session, run_options,
};

/// One loaded graph.
pub(crate) struct Graph {
    session: SharedSession,
    signature: GraphSignature,
    placement: Placement,
    takes_single_rows: bool,
    /// The sizes of inputs that the graph was built for, where it takes no others.
    profile: Option<ShapeProfile>,
    /// Where outputs that stay on the device are, if they can.
    memory: Option<DeviceMemory>,
    pub(super) release_memory: bool,
    /// What each run is to be told.
    pub(super) run_options: RunOptions,
}

impl Graph {
    pub(crate) fn load(bundle: &Bundle, file: GraphFile, options: &SessionOptions) -> Result<Self> {
        let source = bundle.layout.graph(&bundle.source, file)?;
        if file.part() != ModelPart::Vision {
            check_positions(&source, file.name())?;
        }
        Self::load_from(&source, bundle, file, options)
    }

    /// [`load`](Self::load) of a graph that may be another than the bundle's.
    pub(super) fn load_from(
        source: &GraphSource,
        bundle: &Bundle,
        file: GraphFile,
        options: &SessionOptions,
    ) -> Result<Self> {
        let mut options = options.clone();
        options.devices = options.devices.of(file.part()).into();
        let (session, placement, profile) = match source {
            GraphSource::Session(session) => (session.clone(), Placement::default(), None),
            source => owned(source, file, bundle, &options)?,
        };
        let placement = Placement {
            graph: file.name().into(),
            ..placement
        };
        let signature = GraphSignature::of(&lock(&session), file.name())?;
        warn_of_saturation(&signature, &placement);
        let takes_single_rows = takes_single_rows(&signature)?;
        Ok(Self {
            takes_single_rows,
            session,
            signature,
            placement,
            profile,
            memory: match source {
                GraphSource::Session(_) => None,
                // Rows are taken apart and put together in the CPU's memory.
                _ if takes_single_rows => None,
                _ => memory_for_caches(&options)?,
            },
            release_memory: options.release_memory,
            run_options: run_options(options.release_memory)?,
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.signature.graph
    }

    /// Where its nodes run.
    pub(crate) fn placement(&self) -> &Placement {
        &self.placement
    }

    /// Whether the graph's metadata say `true` to this key.
    pub(crate) fn claims(&self, key: &str) -> bool {
        self.signature.claims(key)
    }

    /// [`claims`](Self::claims) of a graph that is not loaded.
    pub(crate) fn claims_unloaded(bundle: &Bundle, file: GraphFile, key: &str) -> Result<bool> {
        let source = bundle.layout.graph(&bundle.source, file)?;
        Ok(GraphSignature::read(&source)?.claims(key))
    }

    /// Whether the batch size is fixed at 1, so that rows are run one after another.
    pub(super) fn takes_single_rows(&self) -> bool {
        self.takes_single_rows
    }

    pub(crate) fn has_input(&self, name: &str) -> bool {
        self.signature.has_input(name)
    }

    pub(crate) fn has_output(&self, name: &str) -> bool {
        self.signature.has_output(name)
    }

    pub(crate) fn input(&self, name: &str) -> Result<&TensorSpec> {
        self.signature.input(name)
    }

    pub(crate) fn output(&self, name: &str) -> Result<&TensorSpec> {
        self.signature.output(name)
    }

    /// The number of layers whose self-attention caches the graph gives.
    pub(crate) fn layers_of_caches(&self) -> usize {
        let has_layer = |&layer: &usize| {
            let key = present(layer, Attention::Decoder, KeyValue::Key);
            self.signature.has_output(&key)
        };
        (0..).take_while(has_layer).count()
    }

    /// Runs the graph; `inputs` are bound by name. Adds the time within the runtime to `runtime`.
    pub(crate) fn run(
        &self,
        inputs: Vec<(&str, SessionInputValue<'_>)>,
        runtime: &mut f64,
    ) -> Result<Outputs<'_>> {
        self.run_with(inputs, &self.run_options, runtime)
    }

    /// [`run`](Self::run), ended in its midst where `cancel` says so: with [`Error::Cancelled`].
    pub(crate) fn run_until_cancelled(
        &self,
        inputs: Vec<(&str, SessionInputValue<'_>)>,
        cancel: &CancelToken,
        runtime: &mut f64,
    ) -> Result<Outputs<'_>> {
        // A run's own options: ending it must not end those of other threads.
        let options = Arc::new(run_options(self.release_memory)?);
        cancel.watch(&options);
        self.run_with(inputs, &options, runtime)
            .map_err(|error| match cancel.is_cancelled() {
                true => Error::Cancelled,
                false => error,
            })
    }

    fn run_with(
        &self,
        inputs: Vec<(&str, SessionInputValue<'_>)>,
        options: &RunOptions,
        runtime: &mut f64,
    ) -> Result<Outputs<'_>> {
        let mut session = self.lock();
        let rows = if self.takes_single_rows {
            single_rows::split(&inputs)?
        } else {
            Vec::new()
        };
        let values = if rows.is_empty() {
            self.run_once(&mut session, inputs, options, runtime)?
        } else {
            let runs = rows
                .into_iter()
                .map(|inputs| self.run_once(&mut session, inputs, options, runtime));
            single_rows::join(runs.collect::<Result<_>>()?)?
        };
        Ok(Outputs { graph: self, values })
    }

    fn run_once(
        &self,
        session: &mut Session,
        inputs: Vec<(&str, SessionInputValue<'_>)>,
        options: &RunOptions,
        runtime: &mut f64,
    ) -> Result<BTreeMap<String, DynValue>> {
        let outputs = timed(runtime, || session.run_with_options(inputs, options));
        let outputs = outputs.map_err(Error::ort(self.running()))?.into_iter();
        Ok(outputs.map(|(name, value)| (name.to_owned(), value)).collect())
    }

    /// The memory in which [`run_keeping`](Self::run_keeping) keeps outputs; `None`: they are given in the processor's.
    pub(crate) fn memory(&self) -> Option<DeviceMemory> {
        self.memory
    }

    /// [`run`](Self::run) that leaves those outputs in [its device's memory](Self::memory) of which `stays` says so. The
    /// inputs may be there, or own their values.
    pub(crate) fn run_keeping(
        &self,
        inputs: Vec<(&str, SessionInputValue<'_>)>,
        memory: DeviceMemory,
        stays: impl Fn(&str) -> bool,
        runtime: &mut f64,
    ) -> Result<Outputs<'_>> {
        let (device, processor) = (memory.info()?, DeviceMemory::CPU.info()?);
        let bind = |session: &Session| {
            let mut binding = session.create_binding()?;
            for (name, value) in &inputs {
                binding.bind_input(*name, &**value)?;
            }
            for output in &self.signature.outputs {
                let place = if stays(&output.name) { &device } else { &processor };
                binding.bind_output_to_device(&output.name, place)?;
            }
            Ok::<_, ort::Error>(binding)
        };
        let mut session = self.lock();
        let values = timed(runtime, || {
            let binding = bind(&session)?;
            let outputs = session.run_binding_with_options(&binding, &self.run_options)?;
            let values = outputs.into_iter().map(|(name, value)| (name.to_owned(), value));
            Ok(values.collect())
        });
        let values = values.map_err(Error::ort(self.running()))?;
        Ok(Outputs { graph: self, values })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Session> {
        lock(&self.session)
    }

    pub(super) fn running(&self) -> String {
        match &self.profile {
            None => format!("running {}", self.name()),
            Some(profile) => format!("running {} ({profile})", self.name()),
        }
    }

    pub(crate) fn invalid(&self, reason: impl Into<String>) -> Error {
        Error::InvalidGraph {
            graph: self.name().into(),
            reason: reason.into(),
        }
    }
}

/// A session of the engine's own, where its nodes run, and the sizes that it was built for, if it was for certain ones.
fn owned(
    graph: &GraphSource,
    file: GraphFile,
    bundle: &Bundle,
    options: &SessionOptions,
) -> Result<(SharedSession, Placement, Option<ShapeProfile>)> {
    let load = |options: &SessionOptions| {
        load_around_optimizers(file.name(), options, |options| load_session(graph, options))
    };
    let profile = ShapeProfile::of(graph, file, bundle, options)?;
    let ((session, placement), profile) = load_with_profile(file.name(), profile, options, load)?;
    Ok((Arc::new(Mutex::new(session)), placement, profile))
}

/// The memory of its own that the first device has; the processor's where the options want that treated alike.
fn memory_for_caches(options: &SessionOptions) -> Result<Option<DeviceMemory>> {
    let first = options.devices.for_all().resolve()?.first().copied();
    let own = first.and_then(DeviceMemory::of);
    Ok(match options.device_caches {
        None => own,
        Some(true) => Some(own.unwrap_or(DeviceMemory::CPU)),
        Some(false) => None,
    })
}

fn lock(session: &SharedSession) -> MutexGuard<'_, Session> {
    session.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A run's outputs, by name.
pub(crate) struct Outputs<'g> {
    graph: &'g Graph,
    values: BTreeMap<String, DynValue>,
}

impl Outputs<'_> {
    pub(crate) fn take(&mut self, name: &str) -> Result<DynValue> {
        self.values
            .remove(name)
            .ok_or_else(|| self.graph.invalid(format!("it gave no {name}")))
    }
}
