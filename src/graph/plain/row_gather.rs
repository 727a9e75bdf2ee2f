//! Caches in a device's memory, put into another order there.

use std::sync::{Mutex, PoisonError};

use ort::editor::{Graph, Model, Node, ONNX_DOMAIN, Opset};
use ort::session::{IoBinding, RunOptions, Session};
use ort::value::{DynValue, Outlet, Shape, SymbolicDimensions, TensorElementType, ValueType};

use crate::error::{Error, Result};
use crate::graph::tensor;
use crate::metrics::timed;
use crate::runtime::{DeviceMemory, SessionOptions, run_options, session_of_model};

const NAME: &str = "row gather";
const ROWS: &str = "rows";
const OPSET: u32 = 17;
/// Rows, heads, length, head size.
const DIMENSIONS: usize = 4;

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

fn outlet(name: String, element: TensorElementType, dimensions: usize) -> Outlet {
    let dtype = ValueType::Tensor {
        ty: element,
        shape: Shape::new(vec![-1; dimensions]),
        dimension_symbols: SymbolicDimensions::empty(dimensions),
    };
    Outlet::new(name, dtype)
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
    let mut graph = Graph::new()?;
    let rows = outlet(ROWS.into(), TensorElementType::Int64, 1);
    let sources = (0..tensors).map(|index| outlet(source(index), element, DIMENSIONS));
    graph.set_inputs([rows].into_iter().chain(sources))?;
    graph.set_outputs((0..tensors).map(|index| outlet(gathered(index), element, DIMENSIONS)))?;
    for index in 0..tensors {
        let (inputs, outputs) = ([source(index), ROWS.to_owned()], [gathered(index)]);
        graph.add_node(Node::new(
            "Gather",
            ONNX_DOMAIN,
            gathered(index),
            inputs,
            outputs,
            [],
        )?)?;
    }
    let mut model = Model::new([Opset::new(ONNX_DOMAIN, OPSET)?])?;
    model.set_graph(graph)?;
    Ok(model)
}
