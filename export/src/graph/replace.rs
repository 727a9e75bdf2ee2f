//! Other nodes in the place of those that use a weight, in a finished graph.

use std::collections::BTreeSet;

use super::{Graph, Value};
use crate::tensor::Tensor;
use florence2_layout::onnx::{GraphProto, NodeProto};

/// What a node does with a weight, a matrix.
pub(crate) enum UseOfWeight<'a> {
    /// `x · weight`.
    MatMul {
        /// What is multiplied.
        x: Value,
        /// `[in, out]`.
        weight: Tensor<'a>,
    },
    /// Rows of the weight.
    Gather {
        /// `[rows, size]`.
        weight: Tensor<'a>,
        /// Which rows, of any shape.
        indices: Value,
    },
}

/// What stands in the place of a node; `None` if it stays. It is told the path of the node's module, and to make its
/// nodes with the graph.
type Replace<'r, 'a> = &'r mut dyn FnMut(&mut Graph<'a>, &str, UseOfWeight<'a>) -> Option<Value>;

impl<'a> Graph<'a> {
    /// Replaces nodes that use a weight, those in subgraphs too. Weights that nothing uses then are left out.
    pub(crate) fn replace_uses_of_weights(
        &mut self,
        mut replace: impl FnMut(&mut Graph<'a>, &str, UseOfWeight<'a>) -> Option<Value>,
    ) {
        let nodes = std::mem::take(&mut self.nodes);
        self.nodes = self.replace_in(nodes, &mut replace);
        self.drop_unused_weights();
    }

    fn replace_in(&mut self, nodes: Vec<NodeProto>, replace: Replace<'_, 'a>) -> Vec<NodeProto> {
        let outer = std::mem::take(&mut self.nodes);
        for mut node in nodes {
            for graph in node
                .attribute
                .iter_mut()
                .filter_map(|attribute| attribute.g.as_mut())
            {
                let nodes = std::mem::take(&mut graph.node);
                graph.node = self.replace_in(nodes, replace);
            }
            let module = module_of(&node).to_owned();
            let replaced = self
                .use_of_weight(&node)
                .and_then(|used| self.within(&module, |graph| replace(graph, &module, used)));
            match (replaced, node.output.first()) {
                (Some(value), Some(output)) => self.rename_output(&value, output),
                _ => self.nodes.push(node),
            }
        }
        std::mem::replace(&mut self.nodes, outer)
    }

    fn use_of_weight(&self, node: &NodeProto) -> Option<UseOfWeight<'a>> {
        let [first, second] = node.input.as_slice() else {
            return None;
        };
        let value = |name: &String| Value(name.as_str().into());
        match node.op_type.as_str() {
            "MatMul" => self.matrix(second).map(|weight| UseOfWeight::MatMul {
                x: value(first),
                weight,
            }),
            "Gather" => self.matrix(first).map(|weight| UseOfWeight::Gather {
                weight,
                indices: value(second),
            }),
            _ => None,
        }
    }

    /// The weight of this name, if it is a matrix of 32-bit floats.
    fn matrix(&self, name: &str) -> Option<Tensor<'a>> {
        if !self.initializer_names.contains(name) {
            return None;
        }
        let initializer = self.initializers.iter().find(|weight| weight.name == name)?;
        initializer
            .floats()
            .filter(|tensor| tensor.shape().len() == 2)
            .cloned()
    }

    /// Gives the output `value` of one of the nodes just made the name `name`.
    fn rename_output(&mut self, value: &Value, name: &str) {
        let outputs = self.nodes.iter_mut().rev().flat_map(|node| &mut node.output);
        if let Some(output) = outputs.into_iter().find(|output| *output == value.name()) {
            name.clone_into(output);
        }
    }

    /// Leaves out the weights that no node uses.
    pub(super) fn drop_unused_weights(&mut self) {
        let mut used = BTreeSet::new();
        collect_inputs(&self.nodes, &mut used);
        self.initializers
            .retain(|weight| used.contains(weight.name.as_str()));
        let initializers = &self.initializers;
        self.initializer_names = initializers.iter().map(|weight| weight.name.clone()).collect();
    }
}

/// The path of the module that a node is part of; empty if it is of none.
pub(super) fn module_of(node: &NodeProto) -> &str {
    node.name.rsplit_once('/').map_or("", |(module, _)| module)
}

fn collect_inputs<'n>(nodes: &'n [NodeProto], names: &mut BTreeSet<&'n str>) {
    for node in nodes {
        names.extend(node.input.iter().map(String::as_str));
        let graphs = node.attribute.iter().filter_map(|attribute| attribute.g.as_ref());
        graphs.for_each(|GraphProto { node, .. }| collect_inputs(node, names));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use florence2_layout::onnx::DataType;

    fn weight(name: &str) -> Tensor<'static> {
        Tensor::new(name, [2, 2], || vec![1.0, 2.0, 3.0, 4.0])
    }

    #[test]
    fn uses_of_weights_are_replaced_in_subgraphs_too_and_idle_weights_go() {
        let mut graph = Graph::default();
        let x = graph.input("x", DataType::Float, &[2.into(), 2.into()]);
        let flag = graph.input("flag", DataType::Bool, &[1.into()]);
        let product = graph.within("first.layer", |graph| {
            let weight = graph.weight(&weight("first"));
            graph.matmul(&x, &weight)
        });
        let [y] = graph.if_else(
            &flag,
            |graph| {
                let weight = graph.weight(&weight("second"));
                [graph.within("second.layer", |graph| graph.matmul(&product, &weight))]
            },
            |graph| [graph.matmul(&product, &x)],
        );
        graph.output("y", &y, DataType::Float, &[2.into(), 2.into()]);

        let mut modules = Vec::new();
        graph.replace_uses_of_weights(|graph, module, used| {
            modules.push(module.to_owned());
            let UseOfWeight::MatMul { x, weight } = used else {
                return None;
            };
            let doubled = graph.weight(&weight.scaled(2.0));
            let product = graph.matmul(&x, &doubled);
            Some(graph.unary("Neg", &product))
        });
        assert_eq!(modules, ["first.layer", "second.layer"]);
        let (proto, _, initializers) = graph.finish("test");
        let names: Vec<&str> = initializers.iter().map(|weight| weight.name.as_str()).collect();
        assert_eq!(names, ["first.scaled", "second.scaled"]);
        let [matmul, negation, choice] = proto.node.as_slice() else {
            panic!("{:?}", proto.node)
        };
        assert_eq!(negation.input, matmul.output);
        // Others still find the result by the name of what was replaced.
        let branch = choice.attribute[0].g.as_ref().unwrap();
        assert_eq!(branch.node[0].input[0], negation.output[0]);
        assert_eq!(branch.output[0].name, branch.node[1].output[0]);
        assert_eq!(choice.output, ["y"]);
    }
}
