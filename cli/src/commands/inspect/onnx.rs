//! The weights and operator sets of an ONNX file.

use std::collections::{BTreeMap, BTreeSet};

use florence2_layout::onnx::{GraphProto, ModelProto};
use prost::Message;
use prost::bytes::Bytes;
use serde::Serialize;

/// The weights and operator sets of an ONNX file.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Contents {
    /// The element type of most weights.
    pub precision: Option<&'static str>,
    /// The number of elements of each element type: `fp32`, `fp16`, `uint8`, ... (4-bit weights are packed in `uint8`).
    /// Types of indices and sizes (int32, int64) are not counted.
    pub weights: BTreeMap<&'static str, u64>,
    /// The version of each operator set; the standard one is `ai.onnx`.
    pub opsets: BTreeMap<String, i64>,
    /// The files of external data, by their paths from the graph's folder.
    #[serde(skip)]
    pub external_data: BTreeSet<String>,
}

impl Contents {
    /// Reads an ONNX file; the contents of a damaged file are empty.
    pub fn of(bytes: Bytes) -> Self {
        let Ok(model) = ModelProto::decode(bytes) else {
            return Self::default();
        };
        let mut contents = Self::default();
        for mut opset in model.opset_import {
            if opset.domain.is_empty() {
                opset.domain = "ai.onnx".into();
            }
            contents.opsets.insert(opset.domain, opset.version);
        }
        if let Some(graph) = &model.graph {
            contents.count(graph);
        }
        let most = contents.weights.iter().max_by_key(|(_, elements)| **elements);
        contents.precision = most.map(|(name, _)| *name);
        contents
    }

    /// Adds the weights of a graph and of its branches.
    fn count(&mut self, graph: &GraphProto) {
        let attributes = || graph.node.iter().flat_map(|node| &node.attribute);
        for tensor in graph
            .initializer
            .iter()
            .chain(attributes().filter_map(|attribute| attribute.t.as_ref()))
        {
            let locations = tensor
                .external_data
                .iter()
                .filter(|entry| entry.key == "location");
            self.external_data
                .extend(locations.map(|entry| entry.value.clone()));
            if let Some(name) = weight_type(tensor.data_type) {
                let size = |&dim: &i64| u64::try_from(dim).unwrap_or(0);
                let elements = tensor.dims.iter().map(size).fold(1, u64::saturating_mul);
                let total = self.weights.entry(name).or_default();
                *total = total.saturating_add(elements);
            }
        }
        attributes()
            .filter_map(|attribute| attribute.g.as_ref())
            .for_each(|branch| self.count(branch));
    }
}

/// Returns the name of a `TensorProto.DataType` that weights have.
fn weight_type(data_type: i32) -> Option<&'static str> {
    Some(match data_type {
        1 => "fp32",
        2 => "uint8",
        3 => "int8",
        10 => "fp16",
        11 => "fp64",
        16 => "bf16",
        17..=20 => "fp8",
        21 => "uint4",
        22 => "int4",
        23 => "fp4",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use florence2_layout::onnx::{AttributeProto, NodeProto, OperatorSetIdProto, TensorProto};

    use super::*;

    fn tensor(data_type: i32, dims: &[i64]) -> TensorProto {
        TensorProto {
            dims: dims.into(),
            data_type,
            ..TensorProto::default()
        }
    }

    fn model(graph: GraphProto, opset_import: Vec<OperatorSetIdProto>) -> Bytes {
        let model = ModelProto {
            graph: Some(graph),
            opset_import,
            ..ModelProto::default()
        };
        model.encode_to_vec().into()
    }

    #[test]
    fn weights_are_counted_in_branches_too() {
        let branch = GraphProto {
            initializer: vec![tensor(10, &[5]), tensor(7, &[100])],
            ..GraphProto::default()
        };
        let attributes = [
            AttributeProto {
                t: Some(tensor(1, &[])),
                ..AttributeProto::default()
            },
            AttributeProto {
                g: Some(branch),
                ..AttributeProto::default()
            },
        ];
        let graph = GraphProto {
            node: vec![NodeProto {
                attribute: attributes.into(),
                ..NodeProto::default()
            }],
            initializer: vec![tensor(10, &[3, 4])],
            ..GraphProto::default()
        };
        let opset = OperatorSetIdProto {
            domain: String::new(),
            version: 17,
        };
        let bytes = model(graph, vec![opset]);
        let contents = Contents::of(bytes.clone());
        assert_eq!(contents.weights, [("fp16", 17), ("fp32", 1)].into());
        assert_eq!(contents.opsets, [("ai.onnx".to_owned(), 17)].into());
        assert_eq!(contents.precision, Some("fp16"));

        assert_eq!(Contents::of(bytes.slice(..bytes.len() - 1)), Contents::default());
        let hostile = GraphProto {
            initializer: vec![tensor(1, &[i64::MAX, i64::MAX, -1])],
            ..GraphProto::default()
        };
        assert_eq!(
            Contents::of(model(hostile, Vec::new())).weights,
            [("fp32", 0)].into()
        );
    }
}
