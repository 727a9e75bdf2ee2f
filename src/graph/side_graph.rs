//! A small graph of ours that runs beside a model's, where those run.

use std::sync::{Mutex, MutexGuard, PoisonError};

use ort::editor::Model;
use ort::session::{RunOptions, Session};
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
        let mut session = self.lock();
        timed(runtime, || {
            let mut binding = session.create_binding()?;
            for (name, value) in inputs {
                binding.bind_input(name.as_ref(), *value)?;
            }
            for name in outputs {
                binding.bind_output_to_device(name.as_ref(), &memory)?;
            }
            let mut given = session.run_binding_with_options(&binding, &self.run_options)?;
            let taken: Option<Vec<DynValue>> =
                outputs.iter().map(|name| given.remove(name.as_ref())).collect();
            taken.ok_or_else(|| ort::Error::new("an output is missing"))
        })
        .map_err(self.running())
    }

    fn lock(&self) -> MutexGuard<'_, Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn running(&self) -> impl FnOnce(ort::Error) -> Error + use<> {
        Error::ort(format!("running graph {}", self.name))
    }
}
