//! Caches in a device's memory, put into another order there.

use std::sync::{Mutex, PoisonError};

use ort::editor::Model;
use ort::session::{IoBinding, RunOptions, Session};
use ort::value::{DynValue, TensorElementType};

use crate::error::{Error, Result};
use crate::graph::tensor;
use crate::metrics::timed;
use crate::runtime::{DeviceMemory, SessionOptions, run_options, session_of_model, small_graph};

const NAME: &str = "row gather";
const ROWS: &str = "rows";
/// Rows, heads, length, head size.
const SHAPE: [i64; 4] = [-1; 4];

/// A graph that gives tensors whose row `i` (along the first axis) is row `rows[i]` of others', all in a device's memory.
pub(super) struct RowGather {
    session: Mutex<Session>,
    tensors: usize,
    memory: DeviceMemory,
    /// What each run is to be told.
    run_options: RunOptions,
}

fn source(index: usize) -> String {
    format!("source.{index}")
}

fn gathered(index: usize) -> String {
    format!("gathered.{index}")
}

impl RowGather {
    /// For so many tensors of this element, in this memory.
    pub(super) fn new(
        tensors: usize,
        element: TensorElementType,
        memory: DeviceMemory,
        options: &SessionOptions,
    ) -> Result<Self> {
        let model = model(tensors, element).map_err(Error::ort(format!("making graph {NAME}")))?;
        Ok(Self {
            session: Mutex::new(session_of_model(NAME, model, options)?),
            tensors,
            memory,
            run_options: run_options(options.release_memory)?,
        })
    }

    /// Gathers rows of all the tensors. Adds the time within the runtime to `runtime`.
    pub(super) fn gather(
        &self,
        values: &[DynValue],
        rows: &[usize],
        runtime: &mut f64,
    ) -> Result<Vec<DynValue>> {
        let rows = tensor::integers(&[rows.len()], rows.iter().map(|&row| row as i64).collect())?;
        let memory = self.memory.info()?;
        let bind = |session: &Session| -> ort::Result<IoBinding> {
            let mut binding = session.create_binding()?;
            binding.bind_input(ROWS, &rows)?;
            for (index, value) in values.iter().enumerate() {
                binding.bind_input(source(index), value)?;
                binding.bind_output_to_device(gathered(index), &memory)?;
            }
            Ok(binding)
        };
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        timed(runtime, || {
            let binding = bind(&session)?;
            let mut outputs = session.run_binding_with_options(&binding, &self.run_options)?;
            let taken: Option<Vec<DynValue>> = (0..self.tensors)
                .map(|index| outputs.remove(gathered(index)))
                .collect();
            taken.ok_or_else(|| ort::Error::new("an output is missing"))
        })
        .map_err(Error::ort("putting caches into another order"))
    }
}

fn model(tensors: usize, element: TensorElementType) -> ort::Result<Model> {
    let cache = |name: String| small_graph::outlet(&name, element, SHAPE);
    let rows = small_graph::outlet(ROWS, TensorElementType::Int64, [-1]);
    let inputs = [rows].into_iter().chain((0..tensors).map(source).map(cache));
    let outputs = (0..tensors).map(gathered).map(cache);
    let gather = |index| small_graph::node("Gather", &[source(index), ROWS.into()], &gathered(index));
    small_graph::model(inputs, outputs, (0..tensors).map(gather))
}
