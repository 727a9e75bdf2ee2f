//! Small graphs of ONNX's own operators that run where a model's decoder runs, on tensors in its memory.

use std::sync::Mutex;

use ort::editor::Node;
use ort::session::{RunOptions, Session};
use ort::value::{DynValue, Outlet, TensorElementType};

use super::graph::{lock, run_between};
use crate::error::{Error, Result};
use crate::metrics::Stopwatch;
use crate::runtime::{DeviceMemory, SessionOptions, run_options, session_of_model, small_graph};

/// A helper graph: its session, and the memory that its outputs are in.
pub(crate) struct HelperGraph {
    name: &'static str,
    session: Mutex<Session>,
    inputs: Vec<String>,
    outputs: Vec<String>,
    memory: DeviceMemory,
    run_options: RunOptions,
}

/// Tensors `prefix.0`, `prefix.1`, ...
fn numbered(prefix: &str, tensors: usize) -> impl Iterator<Item = String> + use<'_> {
    (0..tensors).map(move |index| format!("{prefix}.{index}"))
}

impl HelperGraph {
    /// Returns a graph of inputs `(indices, tensors...)` whose outputs are the tensors' rows `indices`, an int64 `[rows]`.
    pub(crate) fn gather(
        tensors: usize,
        element: TensorElementType,
        memory: DeviceMemory,
        options: &SessionOptions,
    ) -> Result<Self> {
        Self::on_caches("Gather", false, tensors, element, memory, options)
    }

    /// Returns a graph of inputs `(pads, tensors...)` that pads tensors of four axes with zeros: `pads`, an int64 `[8]`, has
    /// the numbers of zeros before each axis, then those after each.
    pub(crate) fn pad(
        tensors: usize,
        element: TensorElementType,
        memory: DeviceMemory,
        options: &SessionOptions,
    ) -> Result<Self> {
        Self::on_caches("Pad", false, tensors, element, memory, options)
    }

    /// Returns a graph of inputs `(indices, tensors..., updates...)` that replaces the tensors' rows `indices`, an
    /// int64 `[rows, 1]`, by the rows of the updates.
    pub(crate) fn scatter(
        tensors: usize,
        element: TensorElementType,
        memory: DeviceMemory,
        options: &SessionOptions,
    ) -> Result<Self> {
        Self::on_caches("ScatterND", true, tensors, element, memory, options)
    }

    /// Makes a graph with a node of `operator` for each cache tensor, of four axes.
    fn on_caches(
        operator: &'static str,
        has_updates: bool,
        tensors: usize,
        element: TensorElementType,
        memory: DeviceMemory,
        options: &SessionOptions,
    ) -> Result<Self> {
        let cache = |name: String| small_graph::outlet(&name, element, [-1; 4]);
        let updates = if has_updates { tensors } else { 0 };
        let indices = if has_updates {
            small_graph::outlet("indices", TensorElementType::Int64, [-1, 1])
        } else {
            small_graph::outlet("indices", TensorElementType::Int64, [-1])
        };
        let nodes = (0..tensors).map(|index| {
            let mut inputs = vec![format!("source.{index}"), "indices".into()];
            inputs.extend((index < updates).then(|| format!("update.{index}")));
            small_graph::node(operator, &inputs, &format!("output.{index}"))
        });
        let sources = numbered("source", tensors).chain(numbered("update", updates));
        let inputs = [indices].into_iter().chain(sources.map(cache));
        let outputs = numbered("output", tensors).map(cache);
        Self::new(operator, inputs, outputs, nodes, memory, options)
    }

    /// Makes a graph, called `name` in messages, and its session. The outputs are put into `memory`.
    pub(crate) fn new(
        name: &'static str,
        inputs: impl IntoIterator<Item = Outlet>,
        outputs: impl IntoIterator<Item = Outlet>,
        nodes: impl IntoIterator<Item = ort::Result<Node>>,
        memory: DeviceMemory,
        options: &SessionOptions,
    ) -> Result<Self> {
        let (inputs, outputs): (Vec<_>, Vec<_>) =
            (inputs.into_iter().collect(), outputs.into_iter().collect());
        let names = |outlets: &[Outlet]| outlets.iter().map(|outlet| outlet.name().to_owned()).collect();
        let (input_names, output_names) = (names(&inputs), names(&outputs));
        let model = small_graph::model(inputs, outputs, nodes);
        let model = model.map_err(Error::ort(format!("making graph {name}")))?;
        Ok(Self {
            name,
            session: Mutex::new(session_of_model(name, model, options)?),
            inputs: input_names,
            outputs: output_names,
            memory,
            run_options: run_options(options.release_memory)?,
        })
    }

    /// Returns the memory that outputs are in.
    pub(crate) fn memory(&self) -> DeviceMemory {
        self.memory
    }

    /// Runs the graph on inputs that are in the device's memory or own their values; returns its outputs, both in the
    /// order of their declaration.
    pub(crate) fn run<'v>(
        &self,
        inputs: impl IntoIterator<Item = &'v DynValue>,
        clock: &Stopwatch,
    ) -> Result<Vec<DynValue>> {
        let memory = self.memory.info()?;
        let inputs = self.inputs.iter().map(String::as_str).zip(inputs);
        let outputs = self.outputs.iter().map(|name| (name.as_str(), &memory));
        let mut session = lock(&self.session);
        let values = clock.time(|| {
            let mut values = run_between(&mut session, &self.run_options, inputs, outputs)?;
            let taken: Option<Vec<DynValue>> = self.outputs.iter().map(|name| values.remove(name)).collect();
            taken.ok_or_else(|| ort::Error::new("an output is missing"))
        });
        values.map_err(Error::ort(format!("running graph {}", self.name)))
    }
}
