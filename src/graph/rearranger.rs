//! Tensors in a device's memory, rearranged there.

use std::sync::{Mutex, PoisonError};

use ort::editor::Model;
use ort::session::{IoBinding, RunOptions, Session};
use ort::value::{DynValue, TensorElementType};

use crate::error::{Error, Result};
use crate::metrics::timed;
use crate::runtime::{DeviceMemory, SessionOptions, run_options, session_of_model, small_graph};

/// The list's name in the graph.
const LIST: &str = "list";
/// Rows, heads, length, head size.
const SHAPE: [i64; 4] = [-1; 4];

/// What is done to each tensor, by ONNX's operator for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rearrangement {
    /// The list has rows: row `i` of what comes out is row `list[i]`.
    Gather,
    /// The list says how many zeros come before each axis, then how many behind each.
    Pad,
    /// The list has rows, `[rows, 1]`: they are replaced by those of an update.
    Scatter,
}

impl Rearrangement {
    fn operator(self) -> &'static str {
        match self {
            Rearrangement::Gather => "Gather",
            Rearrangement::Pad => "Pad",
            Rearrangement::Scatter => "ScatterND",
        }
    }

    fn has_updates(self) -> bool {
        self == Rearrangement::Scatter
    }
}

/// A graph that does the same to each of some tensors of four axes; what comes out is in a device's memory, and what goes
/// in may be.
pub(super) struct Rearranger {
    rearrangement: Rearrangement,
    session: Mutex<Session>,
    tensors: usize,
    memory: DeviceMemory,
    /// What each run is to be told.
    run_options: RunOptions,
}

fn source(index: usize) -> String {
    format!("source.{index}")
}

fn update(index: usize) -> String {
    format!("update.{index}")
}

fn rearranged(index: usize) -> String {
    format!("rearranged.{index}")
}

impl Rearranger {
    /// For so many tensors of this element, in this memory.
    pub(super) fn new(
        rearrangement: Rearrangement,
        tensors: usize,
        element: TensorElementType,
        memory: DeviceMemory,
        options: &SessionOptions,
    ) -> Result<Self> {
        let name = rearrangement.operator();
        let model = model(rearrangement, tensors, element);
        let model = model.map_err(Error::ort(format!("making graph {name}")))?;
        Ok(Self {
            rearrangement,
            session: Mutex::new(session_of_model(name, model, options)?),
            tensors,
            memory,
            run_options: run_options(options.release_memory)?,
        })
    }

    /// The tensors, rearranged by the list, an int64 tensor that owns its values; `updates` are those of a
    /// [scattering](Rearrangement::Scatter). Adds the time within the runtime to `runtime`.
    pub(super) fn run(
        &self,
        tensors: &[DynValue],
        list: &DynValue,
        updates: &[DynValue],
        runtime: &mut f64,
    ) -> Result<Vec<DynValue>> {
        let memory = self.memory.info()?;
        let bind = |session: &Session| -> ort::Result<IoBinding> {
            let mut binding = session.create_binding()?;
            binding.bind_input(LIST, list)?;
            for (index, value) in tensors.iter().enumerate() {
                binding.bind_input(source(index), value)?;
                binding.bind_output_to_device(rearranged(index), &memory)?;
            }
            for (index, value) in updates.iter().enumerate() {
                binding.bind_input(update(index), value)?;
            }
            Ok(binding)
        };
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        timed(runtime, || {
            let binding = bind(&session)?;
            let mut outputs = session.run_binding_with_options(&binding, &self.run_options)?;
            let taken: Option<Vec<DynValue>> = (0..self.tensors)
                .map(|index| outputs.remove(rearranged(index)))
                .collect();
            taken.ok_or_else(|| ort::Error::new("an output is missing"))
        })
        .map_err(Error::ort(format!(
            "rearranging caches by {}",
            self.rearrangement.operator()
        )))
    }
}

fn model(rearrangement: Rearrangement, tensors: usize, element: TensorElementType) -> ort::Result<Model> {
    let tensor = |name: String| small_graph::outlet(&name, element, SHAPE);
    let integer = TensorElementType::Int64;
    let list = match rearrangement {
        Rearrangement::Gather | Rearrangement::Pad => small_graph::outlet(LIST, integer, [-1]),
        Rearrangement::Scatter => small_graph::outlet(LIST, integer, [-1, 1]),
    };
    let updated = if rearrangement.has_updates() { tensors } else { 0 };
    let inputs = (0..tensors).map(source).chain((0..updated).map(update));
    let nodes = (0..tensors).map(|index| {
        let mut inputs = vec![source(index), LIST.into()];
        inputs.extend((index < updated).then(|| update(index)));
        small_graph::node(rearrangement.operator(), &inputs, &rearranged(index))
    });
    let outputs = (0..tensors).map(rearranged).map(tensor);
    small_graph::model([list].into_iter().chain(inputs.map(tensor)), outputs, nodes)
}
