//! Small graphs of ONNX's own operators, put together here.
//!
//! ONNX Runtime has the API for them since 1.22, the oldest that the engine takes.

use ort::editor::{Graph, Model, Node, ONNX_DOMAIN, Opset};
use ort::value::{Outlet, Shape, SymbolicDimensions, TensorElementType, ValueType};

/// The version of ONNX's operators.
const OPSET: u32 = 17;

/// A tensor that a graph takes or gives; a dimension of -1 may have any size.
pub(crate) fn outlet<const N: usize>(name: &str, element: TensorElementType, shape: [i64; N]) -> Outlet {
    let dtype = ValueType::Tensor {
        ty: element,
        shape: Shape::new(shape),
        dimension_symbols: SymbolicDimensions::empty(N),
    };
    Outlet::new(name, dtype)
}

/// A node of one output, whose name is the node's too, and no attributes.
pub(crate) fn node<I: AsRef<str>>(operator: &str, inputs: &[I], output: &str) -> ort::Result<Node> {
    Node::new(operator, ONNX_DOMAIN, output, inputs, [output], [])
}

/// A model of one graph.
pub(crate) fn model(
    inputs: impl IntoIterator<Item = Outlet>,
    outputs: impl IntoIterator<Item = Outlet>,
    nodes: impl IntoIterator<Item = ort::Result<Node>>,
) -> ort::Result<Model> {
    let mut graph = Graph::new()?;
    graph.set_inputs(inputs)?;
    graph.set_outputs(outputs)?;
    for node in nodes {
        graph.add_node(node?)?;
    }
    let mut model = Model::new([Opset::new(ONNX_DOMAIN, OPSET)?])?;
    model.set_graph(graph)?;
    Ok(model)
}
