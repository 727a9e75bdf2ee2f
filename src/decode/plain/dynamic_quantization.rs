//! Detects from a graph's operators whether it quantizes its activations.

use florence2_layout::onnx::NodeProto;

use crate::runtime::{CheckedGraph, GraphSource};

/// The prefix of ONNX Runtime's operators that quantize activations by the range of the whole tensor:
/// `DynamicQuantizeLinear`, `DynamicQuantizeMatMul`.
const DYNAMIC_QUANTIZE: &str = "DynamicQuantize";

/// Returns whether a graph quantizes its activations by a scale that all tokens of a step share, so that a token's
/// logits depend on the tokens that are fed with it. Returns `true` for a session of the application, whose operators
/// are unknown, and `false` for a graph in ONNX Runtime's own format.
pub(super) fn quantizes_activations(graph: &CheckedGraph) -> bool {
    if let GraphSource::Session(_) = graph.source() {
        return true;
    }
    graph.model().is_some_and(|model| {
        let functions = model.functions.iter();
        let graph = model.graph.iter().flat_map(|graph| &graph.node);
        any_quantizes(graph.chain(functions.flat_map(|function| &function.node)))
    })
}

/// Returns whether one of the nodes, or of the nodes in their branches, quantizes activations dynamically.
fn any_quantizes<'n>(mut nodes: impl Iterator<Item = &'n NodeProto>) -> bool {
    nodes.any(|node| {
        let mut branches = node.attribute.iter().filter_map(|attribute| attribute.g.as_ref());
        node.op_type.starts_with(DYNAMIC_QUANTIZE) || branches.any(|branch| any_quantizes(branch.node.iter()))
    })
}

#[cfg(test)]
mod tests {
    use florence2_layout::onnx::{AttributeProto, FunctionProto, GraphProto, ModelProto};
    use prost::Message;

    use super::*;

    fn node(operator: &str) -> NodeProto {
        NodeProto {
            op_type: operator.into(),
            ..NodeProto::default()
        }
    }

    fn graph(node: Vec<NodeProto>) -> GraphProto {
        GraphProto {
            node,
            ..GraphProto::default()
        }
    }

    fn is_found(bytes: Vec<u8>) -> bool {
        quantizes_activations(&CheckedGraph::new(GraphSource::memory("graph", bytes)).unwrap())
    }

    #[test]
    fn operators_are_found_among_nodes_in_branches_and_in_functions() {
        let model = |nodes: Vec<NodeProto>| ModelProto {
            graph: Some(graph(nodes)),
            ..ModelProto::default()
        };
        let plain = || vec![node("MatMulNBits"), node("Add")];
        assert!(!is_found(model(plain()).encode_to_vec()));
        for operator in ["DynamicQuantizeLinear", "DynamicQuantizeMatMul"] {
            let quantized = || plain().into_iter().chain([node(operator)]).collect::<Vec<_>>();
            assert!(is_found(model(quantized()).encode_to_vec()));
            let branch = AttributeProto {
                g: Some(graph(quantized())),
                ..AttributeProto::default()
            };
            let branching = NodeProto {
                attribute: vec![branch],
                ..node("If")
            };
            assert!(is_found(model(vec![branching]).encode_to_vec()));
            let function = FunctionProto {
                node: quantized(),
                ..FunctionProto::default()
            };
            let called = ModelProto {
                functions: vec![function],
                ..model(plain())
            };
            assert!(is_found(called.encode_to_vec()));
        }
    }
}
