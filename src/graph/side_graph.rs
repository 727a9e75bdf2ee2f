//! A small graph of ours that runs beside a model's, where those run.

use std::sync::{Mutex, PoisonError};

use ort::editor::Model;
use ort::session::{IoBinding, RunOptions, Session, SessionOutputs};
use ort::value::DynValue;

use crate::error::{Error, Result};
use crate::metrics::timed;
use crate::runtime::{DeviceMemory, SessionOptions, run_options, session_of_model};

/// A session of a [small graph](crate::runtime::small_graph), locked while it runs.
pub(super) struct SideGraph {
    /// In messages.
    name: &'static str,
    session: Mutex<Session>,
    /// What each run is to be told.
    run_options: RunOptions,
}

impl SideGraph {
    pub(super) fn new(
        name: &'static str,
        model: ort::Result<Model>,
        options: &SessionOptions,
    ) -> Result<Self> {
        let model = model.map_err(Error::ort(format!("making graph {name}")))?;
        Ok(Self {
            name,
            session: Mutex::new(session_of_model(name, model, options)?),
            run_options: run_options(options.release_memory)?,
        })
    }

    /// Runs it; the inputs may be in a device's memory, or own their values; the outputs, in the order of their names,
    /// are in `memory`. Adds the time within the runtime to `runtime`.
    pub(super) fn run<N: AsRef<str>>(
        &self,
        inputs: &[(N, &DynValue)],
        outputs: &[N],
        memory: DeviceMemory,
        runtime: &mut f64,
    ) -> Result<Vec<DynValue>> {
        let memory = memory.info()?;
        let bind = |binding: &mut IoBinding| {
            let mut outputs = outputs.iter();
            outputs.try_for_each(|name| binding.bind_output_to_device(name.as_ref(), &memory))
        };
        self.run_bound(inputs, bind, runtime, |mut given| {
            let taken: Option<Vec<DynValue>> =
                outputs.iter().map(|name| given.remove(name.as_ref())).collect();
            taken.ok_or_else(|| ort::Error::new("an output is missing"))
        })
    }

    /// [`run`](Self::run) into tensors that are there, of the sizes that come out; none of them may be an input.
    pub(super) fn run_into<'v, N: AsRef<str>>(
        &self,
        inputs: &[(N, &DynValue)],
        outputs: impl IntoIterator<Item = (N, &'v mut DynValue)>,
        runtime: &mut f64,
    ) -> Result<()> {
        let bind = |binding: &mut IoBinding| {
            let mut outputs = outputs.into_iter();
            outputs.try_for_each(|(name, value)| binding.bind_output(name.as_ref(), value))
        };
        self.run_bound(inputs, bind, runtime, |_| Ok(()))
    }

    fn run_bound<N: AsRef<str>, T>(
        &self,
        inputs: &[(N, &DynValue)],
        bind_outputs: impl FnOnce(&mut IoBinding) -> ort::Result<()>,
        runtime: &mut f64,
        then: impl FnOnce(SessionOutputs<'_>) -> ort::Result<T>,
    ) -> Result<T> {
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        timed(runtime, || {
            let mut binding = session.create_binding()?;
            for (name, value) in inputs {
                binding.bind_input(name.as_ref(), *value)?;
            }
            bind_outputs(&mut binding)?;
            then(session.run_binding_with_options(&binding, &self.run_options)?)
        })
        .map_err(Error::ort(format!("running graph {}", self.name)))
    }
}
