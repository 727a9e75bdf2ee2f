//! Small graphs of standard operators, built with ONNX Runtime's model editor, which 1.22 and later have.

use ort::editor::{Graph, Model, Node, ONNX_DOMAIN, Opset};
use ort::value::{Outlet, Shape, SymbolicDimensions, TensorElementType, ValueType};

/// The version of the standard operators.
const OPSET: u32 = 17;

/// An input or output; a dimension of -1 has any size.
pub(crate) fn outlet<const N: usize>(name: &str, element: TensorElementType, shape: [i64; N]) -> Outlet {
    let dtype = ValueType::Tensor {
        ty: element,
        shape: Shape::new(shape),
        dimension_symbols: SymbolicDimensions::empty(N),
    };
    Outlet::new(name, dtype)
}

/// A node without attributes that is named like its only output.
pub(crate) fn node<I: AsRef<str>>(operator: &str, inputs: &[I], output: &str) -> ort::Result<Node> {
    Node::new(operator, ONNX_DOMAIN, output, inputs, [output], [])
}

/// Builds a model of these nodes.
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
