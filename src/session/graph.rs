//! One loaded graph: its session, locked only during a run, and its signature.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use florence2_layout::graphs::{GraphFile, INPUTS_EMBEDS, ModelPart};
use ndarray::Array3;
use ort::memory::MemoryInfo;
use ort::session::{IoBinding, RunOptions, Session, SessionInputValue, SessionOutputs};
use ort::value::DynValue;

use super::checks::warn_of_saturation;
use super::names::TensorNames;
use super::optimizers::load_around_optimizers;
use super::single_rows::{self, takes_single_rows};
use super::tensor;
use super::tensorrt::{ShapeProfile, load_with_profile};
use crate::bundle::Bundle;
use crate::cancel::CancelToken;
use crate::error::{Error, Result};
use crate::metrics::Stopwatch;
use crate::repair::check_positions;
use crate::runtime::{
    CheckedGraph, DeviceMemory, GraphSignature, GraphSource, Placement, SessionOptions, SharedSession,
    TensorSpec, load_session, run_options,
};

/// The inputs of a run, by name.
pub(crate) type Inputs<'a> = Vec<(&'a str, SessionInputValue<'a>)>;

/// One loaded graph.
pub(crate) struct Graph {
    session: SharedSession,
    /// The graph's tensors, by the layout's names.
    signature: GraphSignature,
    names: TensorNames,
    placement: Placement,
    /// Whether the batch size is fixed at 1, so that rows are run one after another.
    takes_single_rows: bool,
    /// The TensorRT shape profile that the graph was built for; it takes no other input shapes.
    profile: Option<ShapeProfile>,
    /// The device memory that outputs can stay in; `None` if they always come to the CPU's.
    memory: Option<DeviceMemory>,
    release_memory: bool,
    run_options: RunOptions,
}

impl Graph {
    /// Loads a graph of the bundle.
    pub(crate) fn load(bundle: &Bundle, file: GraphFile, options: &SessionOptions) -> Result<Self> {
        Self::load_checked(&bundle.graph(file)?, bundle, file, options)
    }

    /// Loads `graph` in place of the bundle's graph `file`.
    pub(crate) fn load_checked(
        graph: &CheckedGraph,
        bundle: &Bundle,
        file: GraphFile,
        options: &SessionOptions,
    ) -> Result<Self> {
        let mut options = options.clone();
        options.devices = options.devices.of(file.part()).into();
        if file.part() != ModelPart::Vision {
            let embeds = bundle.layout.names.of(file).inputs.get(INPUTS_EMBEDS);
            check_positions(graph, file.name(), embeds.map_or(INPUTS_EMBEDS, String::as_str))?;
        }
        let (session, placement, profile) = match graph.source() {
            GraphSource::Session(session) => (session.clone(), Placement::default(), None),
            _ => {
                let load = |options: &SessionOptions| {
                    load_around_optimizers(file.name(), options, |options| load_session(graph, options))
                };
                let profile = ShapeProfile::of(graph, file, bundle, &options)?;
                let ((session, placement), profile) =
                    load_with_profile(file.name(), profile, &options, load)?;
                (Arc::new(Mutex::new(session)), placement, profile)
            }
        };
        let placement = Placement {
            graph: file.name().into(),
            ..placement
        };
        let mut signature = GraphSignature::of(&lock(&session), file.name())?;
        let names = TensorNames::apply(&mut signature, file, bundle.layout.names.of(file));
        warn_of_saturation(&signature, &placement);
        let takes_single_rows = takes_single_rows(&signature)?;
        // Single rows are split and joined in the CPU's memory.
        let is_ours = !matches!(graph.source(), GraphSource::Session(_)) && !takes_single_rows;
        Ok(Self {
            takes_single_rows,
            session,
            signature,
            names,
            placement,
            profile,
            memory: if is_ours { output_memory(&options)? } else { None },
            release_memory: options.release_memory,
            run_options: run_options(options.release_memory)?,
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.signature.graph
    }

    pub(crate) fn placement(&self) -> &Placement {
        &self.placement
    }

    /// Returns whether the graph's metadata have `true` for `key`.
    pub(crate) fn declares(&self, key: &str) -> bool {
        self.signature.declares(key)
    }

    /// Returns whether the metadata of a graph that is not loaded have `true` for `key`.
    pub(crate) fn unloaded_declares(bundle: &Bundle, file: GraphFile, key: &str) -> Result<bool> {
        Ok(GraphSignature::read(&bundle.graph(file)?)?.declares(key))
    }

    pub(crate) fn takes_single_rows(&self) -> bool {
        self.takes_single_rows
    }

    pub(crate) fn has_input(&self, name: &str) -> bool {
        self.signature.has_input(name)
    }

    pub(crate) fn has_output(&self, name: &str) -> bool {
        self.signature.has_output(name)
    }

    pub(crate) fn inputs(&self) -> &[TensorSpec] {
        &self.signature.inputs
    }

    pub(crate) fn outputs(&self) -> &[TensorSpec] {
        &self.signature.outputs
    }

    pub(crate) fn input(&self, name: &str) -> Result<&TensorSpec> {
        self.signature.input(name)
    }

    pub(crate) fn output(&self, name: &str) -> Result<&TensorSpec> {
        self.signature.output(name)
    }

    /// Returns the device memory that [`run_on_device`](Self::run_on_device) leaves outputs in; `None` if they always come
    /// to the CPU's.
    pub(crate) fn memory(&self) -> Option<DeviceMemory> {
        self.memory
    }

    /// Runs the graph.
    pub(crate) fn run(&self, inputs: Inputs<'_>, clock: &Stopwatch) -> Result<Outputs<'_>> {
        self.run_with(inputs, clock, &self.run_options)
    }

    /// Runs the graph; returns [`Error::Cancelled`] if the run was ended by `cancel`.
    pub(crate) fn run_until_cancelled(
        &self,
        inputs: Inputs<'_>,
        clock: &Stopwatch,
        cancel: &CancelToken,
    ) -> Result<Outputs<'_>> {
        // Options of this run only: runs in other threads continue.
        let options = Arc::new(run_options(self.release_memory)?);
        cancel.watch(&options);
        let outputs = self.run_with(inputs, clock, &options);
        outputs.map_err(|error| {
            if cancel.is_cancelled() {
                Error::Cancelled
            } else {
                error
            }
        })
    }

    fn run_with(&self, inputs: Inputs<'_>, clock: &Stopwatch, options: &RunOptions) -> Result<Outputs<'_>> {
        let mut session = self.lock();
        let mut run = |inputs: Inputs<'_>| -> Result<BTreeMap<String, DynValue>> {
            let inputs = self.names.inputs(inputs)?;
            let outputs = clock.time(|| session.run_with_options(inputs, options));
            Ok(self.by_layout_name(outputs.map_err(self.failed())?))
        };
        let rows = if self.takes_single_rows {
            single_rows::split(&inputs)?
        } else {
            Vec::new()
        };
        let values = if rows.is_empty() {
            run(inputs)?
        } else {
            single_rows::join(rows.into_iter().map(run).collect::<Result<_>>()?)?
        };
        Ok(Outputs { graph: self, values })
    }

    /// Runs the graph. Outputs for which `stays` returns `true` stay in `memory`. Inputs must own their values or be
    /// in that memory.
    pub(crate) fn run_on_device(
        &self,
        inputs: Inputs<'_>,
        memory: DeviceMemory,
        stays: impl Fn(&str) -> bool,
        clock: &Stopwatch,
    ) -> Result<Outputs<'_>> {
        let (device, cpu) = (memory.info()?, DeviceMemory::CPU.info()?);
        let inputs = self.names.inputs(inputs)?;
        let inputs = inputs.iter().map(|(name, value)| (*name, &**value));
        let outputs = self.signature.outputs.iter().map(|output| {
            let name = output.name.as_str();
            (self.names.output(name), if stays(name) { &device } else { &cpu })
        });
        let mut session = self.lock();
        let values = clock.time(|| run_between(&mut session, &self.run_options, inputs, outputs));
        let values = values.map_err(self.failed())?.into_iter();
        let values = values.map(|(name, value)| (self.names.layout_output(name), value));
        Ok(Outputs {
            graph: self,
            values: values.collect(),
        })
    }

    /// Returns a binding without tensors, for [`run_bound`](Self::run_bound).
    ///
    /// # Errors
    /// [`Error::InvalidGraph`] if tensors have other names than the layout's.
    pub(crate) fn binding(&self) -> Result<IoBinding> {
        if self.names.differ() {
            return Err(self.invalid("the names of its tensors cannot be mapped; export it again"));
        }
        self.lock()
            .create_binding()
            .map_err(Error::ort(format!("binding tensors to {}", self.name())))
    }

    /// Runs the graph on bound tensors. Returns the output `taken`, which is bound to a memory, not to a tensor.
    pub(crate) fn run_bound(
        &self,
        binding: &IoBinding,
        taken: Option<&str>,
        clock: &Stopwatch,
    ) -> Result<Option<DynValue>> {
        let mut session = self.lock();
        let outputs = clock.time(|| session.run_binding_with_options(binding, &self.run_options));
        let mut outputs = outputs.map_err(self.failed())?;
        Ok(taken.and_then(|name| outputs.remove(name)))
    }

    fn lock(&self) -> MutexGuard<'_, Session> {
        lock(&self.session)
    }

    fn by_layout_name(&self, outputs: SessionOutputs<'_>) -> BTreeMap<String, DynValue> {
        let outputs = outputs.into_iter();
        outputs
            .map(|(name, value)| (self.names.layout_output(name.to_owned()), value))
            .collect()
    }

    fn failed(&self) -> impl FnOnce(ort::Error) -> Error + use<> {
        Error::ort(match &self.profile {
            None => format!("running {}", self.name()),
            Some(profile) => format!("running {} ({profile})", self.name()),
        })
    }

    pub(crate) fn invalid(&self, reason: impl Into<String>) -> Error {
        Error::InvalidGraph {
            graph: self.name().into(),
            reason: reason.into(),
        }
    }
}

/// Returns the first device's own memory; the CPU's if `device_caches` is set and the device has none.
fn output_memory(options: &SessionOptions) -> Result<Option<DeviceMemory>> {
    let first = options.devices.for_all().resolve()?.first().copied();
    let own = first.and_then(DeviceMemory::of);
    Ok(match options.device_caches {
        None => own,
        Some(true) => Some(own.unwrap_or(DeviceMemory::CPU)),
        Some(false) => None,
    })
}

/// Runs a session on `inputs`, and puts each of `outputs` into a memory.
pub(super) fn run_between<'i, 'v, 'o, 'm>(
    session: &mut Session,
    options: &RunOptions,
    inputs: impl Iterator<Item = (&'i str, &'v DynValue)>,
    outputs: impl Iterator<Item = (&'o str, &'m MemoryInfo<'static>)>,
) -> ort::Result<BTreeMap<String, DynValue>> {
    let mut binding = session.create_binding()?;
    for (name, value) in inputs {
        binding.bind_input(name, value)?;
    }
    for (name, memory) in outputs {
        binding.bind_output_to_device(name, memory)?;
    }
    Ok(by_name(session.run_binding_with_options(&binding, options)?))
}

fn by_name(outputs: SessionOutputs<'_>) -> BTreeMap<String, DynValue> {
    let outputs = outputs.into_iter();
    outputs.map(|(name, value)| (name.to_owned(), value)).collect()
}

pub(super) fn lock(session: &Mutex<Session>) -> MutexGuard<'_, Session> {
    session.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The outputs of a run, by name.
pub(crate) struct Outputs<'g> {
    graph: &'g Graph,
    values: BTreeMap<String, DynValue>,
}

impl Outputs<'_> {
    /// Takes an output out.
    pub(crate) fn take(&mut self, name: &str) -> Result<DynValue> {
        let value = self.values.remove(name);
        value.ok_or_else(|| self.graph.invalid(format!("it returned no {name}")))
    }

    /// Takes an output of three axes out as f32, after a check for NaN and ∞.
    pub(crate) fn take_finite(&mut self, name: &str) -> Result<Array3<f32>> {
        let array: Array3<f32> = tensor::to_f32(&self.take(name)?, self.graph.name(), name)?;
        // Outputs are contiguous.
        let values = array.as_slice().unwrap_or_default();
        tensor::check_finite(values, self.graph.name(), name)?;
        Ok(array)
    }
}
