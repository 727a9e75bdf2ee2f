//! Tensors in a device's memory, rearranged there.

use ort::editor::Model;
use ort::value::{DynValue, TensorElementType};

use super::side_graph::SideGraph;
use crate::error::Result;
use crate::runtime::{DeviceMemory, SessionOptions, small_graph};

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
    graph: SideGraph,
    tensors: usize,
    memory: DeviceMemory,
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
        let model = model(rearrangement, tensors, element);
        Ok(Self {
            graph: SideGraph::new(rearrangement.operator(), model, options)?,
            tensors,
            memory,
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
        let outputs: Vec<String> = (0..self.tensors).map(rearranged).collect();
        self.graph
            .run(&inputs(tensors, list, updates), &outputs, self.memory, runtime)
    }
}

fn sources(tensors: &[DynValue]) -> impl Iterator<Item = (String, &DynValue)> {
    let tensors = tensors.iter().enumerate();
    tensors.map(|(index, value)| (source(index), value))
}

fn inputs<'v>(
    tensors: &'v [DynValue],
    list: &'v DynValue,
    updates: &'v [DynValue],
) -> Vec<(String, &'v DynValue)> {
    let updates = updates.iter().enumerate();
    [(LIST.to_owned(), list)]
        .into_iter()
        .chain(sources(tensors))
        .chain(updates.map(|(index, value)| (update(index), value)))
        .collect()
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
