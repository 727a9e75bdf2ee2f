//! Loaded graphs: the only place where ONNX Runtime runs.

mod checks;
mod graph;
mod helper_graph;
mod names;
mod optimizers;
mod single_rows;
pub(crate) mod tensor;
pub(crate) mod tensorrt;

pub(crate) use checks::TextSizes;
pub(crate) use graph::{Graph, Inputs, Outputs};
pub(crate) use helper_graph::HelperGraph;
pub(crate) use tensor::FloatType;
