//! Runs of a graph on tensors that are bound once.

use ort::session::{IoBinding, SessionOutputs};
use ort::value::DynValue;

use super::session::Graph;
use crate::error::{Error, Result};
use crate::metrics::timed;

impl Graph {
    /// Tensors that are bound once, for many runs.
    pub(crate) fn binding(&self) -> Result<IoBinding> {
        self.lock()
            .create_binding()
            .map_err(Error::ort(format!("binding tensors to {}", self.name())))
    }

    /// Runs the graph on bound tensors. Adds the time within the runtime to `runtime`.
    pub(crate) fn run_bound(&self, binding: &IoBinding, runtime: &mut f64) -> Result<()> {
        self.run_bound_and(binding, runtime, |_| ())
    }

    /// [`run_bound`](Self::run_bound) that gives one of the outputs.
    pub(crate) fn run_bound_for(
        &self,
        binding: &IoBinding,
        output: &str,
        runtime: &mut f64,
    ) -> Result<DynValue> {
        self.run_bound_and(binding, runtime, |mut outputs| outputs.remove(output))?
            .ok_or_else(|| self.invalid(format!("it gave no {output}")))
    }

    fn run_bound_and<T>(
        &self,
        binding: &IoBinding,
        runtime: &mut f64,
        then: impl FnOnce(SessionOutputs<'_>) -> T,
    ) -> Result<T> {
        let mut session = self.lock();
        timed(runtime, || {
            session.run_binding_with_options(binding, &self.run_options)
        })
        .map(then)
        .map_err(Error::ort(self.running()))
    }
}
