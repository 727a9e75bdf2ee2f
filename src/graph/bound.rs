//! Runs of a graph on tensors that are bound once, and recordings of such runs (CUDA graphs).

use ort::session::{IoBinding, RunOptions, SessionOutputs};
use ort::value::DynValue;

use super::session::Graph;
use crate::error::{Error, Result};
use crate::metrics::timed;
use crate::runtime::{not_recording, recording, run_options};

/// The run option that says which CUDA graph a run is (`kOrtRunOptionsConfigCudaGraphAnnotation`).
const RECORDING: &str = "gpu_graph_id";
/// None.
const NOT_RECORDED: &str = "-1";

impl Graph {
    /// Tensors that are bound once, for many runs.
    pub(crate) fn binding(&self) -> Result<IoBinding> {
        self.lock()
            .create_binding()
            .map_err(Error::ort(format!("binding tensors to {}", self.name())))
    }

    /// Runs the graph on bound tensors. Adds the time within the runtime to `runtime`.
    pub(crate) fn run_bound(&self, binding: &IoBinding, runtime: &mut f64) -> Result<()> {
        let _turn = not_recording();
        self.run_bound_and(binding, &self.run_options, runtime, |_| ())
    }

    /// [`run_bound`](Self::run_bound), of a run that this thread has [recorded](Self::record).
    pub(crate) fn run_recorded(
        &self,
        binding: &IoBinding,
        options: &RunOptions,
        runtime: &mut f64,
    ) -> Result<()> {
        let _turn = not_recording();
        self.run_bound_and(binding, options, runtime, |_| ())
    }

    /// [`run_bound`](Self::run_bound), which may be recorded.
    pub(crate) fn record(&self, binding: &IoBinding, options: &RunOptions, runtime: &mut f64) -> Result<()> {
        let _turn = recording();
        self.run_bound_and(binding, options, runtime, |_| ())
    }

    /// What a run is to be told whose work on the device is recorded under this number, or done again if it is.
    pub(crate) fn recorded_run_options(&self, number: usize) -> Result<RunOptions> {
        recorded_run_options(self.release_memory, &number.to_string())
    }

    /// [`run_bound`](Self::run_bound) that gives one of the outputs.
    pub(crate) fn run_bound_for(
        &self,
        binding: &IoBinding,
        output: &str,
        runtime: &mut f64,
    ) -> Result<DynValue> {
        let _turn = not_recording();
        self.run_bound_and(binding, &self.run_options, runtime, |mut outputs| {
            outputs.remove(output)
        })?
        .ok_or_else(|| self.invalid(format!("it gave no {output}")))
    }

    fn run_bound_and<T>(
        &self,
        binding: &IoBinding,
        options: &RunOptions,
        runtime: &mut f64,
        then: impl FnOnce(SessionOutputs<'_>) -> T,
    ) -> Result<T> {
        let mut session = self.lock();
        timed(runtime, || session.run_binding_with_options(binding, options))
            .map(then)
            .map_err(Error::ort(self.running()))
    }
}

/// What runs are to be told that are not recorded, of a session that could.
pub(super) fn unrecorded_run_options(release_memory: bool) -> Result<RunOptions> {
    recorded_run_options(release_memory, NOT_RECORDED)
}

fn recorded_run_options(release_memory: bool, number: &str) -> Result<RunOptions> {
    let mut options = run_options(release_memory)?;
    options
        .set(RECORDING, number)
        .map_err(Error::ort("numbering the recording of a run"))?;
    Ok(options)
}
