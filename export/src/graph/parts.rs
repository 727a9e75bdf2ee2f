//! The parts of a graph, for tests.

use std::collections::{BTreeMap, BTreeSet};

use super::Graph;
use florence2_layout::onnx::{DataType, NodeProto};

impl Graph<'_> {
    pub(crate) fn node_protos(&self) -> &[NodeProto] {
        &self.nodes
    }

    /// The number of elements of each constant.
    pub(crate) fn constants(&self) -> BTreeMap<String, usize> {
        let constants = self.initializers.iter();
        constants
            .map(|constant| (constant.name.clone(), constant.len()))
            .collect()
    }

    /// The names of integer inputs.
    pub(crate) fn integer_inputs(&self) -> BTreeSet<String> {
        let is_integer = |element: i32| {
            [DataType::Int32, DataType::Int64]
                .iter()
                .any(|&known| known as i32 == element)
        };
        let inputs = self.inputs.iter().filter(|input| {
            let tensor = input.r#type.as_ref().and_then(|of| of.tensor_type.as_ref());
            tensor.is_some_and(|tensor| is_integer(tensor.elem_type))
        });
        inputs.map(|input| input.name.clone()).collect()
    }
}
