//! What an ONNX file says of its weights and operators. Of the format (onnx.proto) only the fields that are looked at
//! are declared; the weights themselves are skipped.

use std::collections::BTreeMap;

use prost::Message;

#[derive(Clone, PartialEq, Message)]
struct Model {
    #[prost(message, optional, tag = "7")]
    graph: Option<Graph>,
    #[prost(message, repeated, tag = "8")]
    opset_import: Vec<Opset>,
}

#[derive(Clone, PartialEq, Message)]
struct Opset {
    #[prost(string, tag = "1")]
    domain: String,
    #[prost(int64, tag = "2")]
    version: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Graph {
    #[prost(message, repeated, tag = "1")]
    node: Vec<Node>,
    #[prost(message, repeated, tag = "5")]
    initializer: Vec<Tensor>,
}

#[derive(Clone, PartialEq, Message)]
struct Node {
    #[prost(message, repeated, tag = "5")]
    attribute: Vec<Attribute>,
}

#[derive(Clone, PartialEq, Message)]
struct Attribute {
    #[prost(message, optional, tag = "5")]
    tensor: Option<Tensor>,
    /// A branch of an `If`, which may hold weights of its own.
    #[prost(message, optional, boxed, tag = "6")]
    graph: Option<Box<Graph>>,
}

#[derive(Clone, PartialEq, Message)]
struct Tensor {
    #[prost(int64, repeated, tag = "1")]
    dims: Vec<i64>,
    #[prost(int32, tag = "2")]
    data_type: i32,
}

/// What an ONNX file holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Numbers of each element type: `fp32`, `fp16`, `uint8`, ... (4-bit weights are packed in `uint8`). Indices and
    /// sizes are not counted.
    pub weights: BTreeMap<&'static str, u64>,
    /// The version of each set of operators; the standard one is `ai.onnx`.
    pub opsets: BTreeMap<String, i64>,
}

impl Contents {
    /// Reads an ONNX file; nothing is known of one that is damaged.
    pub fn of(bytes: &[u8]) -> Self {
        let Ok(model) = Model::decode(bytes) else {
            return Self::default();
        };
        let mut contents = Self::default();
        for opset in model.opset_import {
            let domain = if opset.domain.is_empty() {
                "ai.onnx".into()
            } else {
                opset.domain
            };
            contents.opsets.insert(domain, opset.version);
        }
        if let Some(graph) = &model.graph {
            contents.count(graph);
        }
        contents
    }

    fn count(&mut self, graph: &Graph) {
        let attributes = || graph.node.iter().flat_map(|node| &node.attribute);
        for tensor in graph
            .initializer
            .iter()
            .chain(attributes().filter_map(|attribute| attribute.tensor.as_ref()))
        {
            if let Some(name) = weight_type(tensor.data_type) {
                let size = |&dim: &i64| u64::try_from(dim).unwrap_or(0);
                let numbers = tensor.dims.iter().map(size).fold(1, u64::saturating_mul);
                let total = self.weights.entry(name).or_default();
                *total = total.saturating_add(numbers);
            }
        }
        attributes()
            .filter_map(|attribute| attribute.graph.as_deref())
            .for_each(|branch| self.count(branch));
    }

    /// The element type of most weights.
    pub fn precision(&self) -> Option<&'static str> {
        self.weights
            .iter()
            .max_by_key(|(_, numbers)| **numbers)
            .map(|(name, _)| *name)
    }
}

/// `TensorProto.DataType`, as far as weights have it.
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
    use super::*;

    fn tensor(data_type: i32, dims: &[i64]) -> Tensor {
        Tensor {
            dims: dims.into(),
            data_type,
        }
    }

    #[test]
    fn weights_are_counted_in_branches_too() {
        let branch = Graph {
            node: Vec::new(),
            initializer: vec![tensor(10, &[5]), tensor(7, &[100])],
        };
        let attributes = [
            Attribute {
                tensor: Some(tensor(1, &[])),
                graph: None,
            },
            Attribute {
                tensor: None,
                graph: Some(branch.into()),
            },
        ];
        let graph = Graph {
            node: vec![Node {
                attribute: attributes.into(),
            }],
            initializer: vec![tensor(10, &[3, 4])],
        };
        let opset = Opset {
            domain: String::new(),
            version: 17,
        };
        let bytes = Model {
            graph: Some(graph),
            opset_import: vec![opset],
        }
        .encode_to_vec();
        let contents = Contents::of(&bytes);
        assert_eq!(contents.weights, [("fp16", 17), ("fp32", 1)].into());
        assert_eq!(contents.opsets, [("ai.onnx".to_owned(), 17)].into());
        assert_eq!(contents.precision(), Some("fp16"));

        assert_eq!(Contents::of(&bytes[..bytes.len() - 1]), Contents::default());
        let hostile = Graph {
            node: Vec::new(),
            initializer: vec![tensor(1, &[i64::MAX, i64::MAX, -1])],
        };
        let bytes = Model {
            graph: Some(hostile),
            opset_import: Vec::new(),
        }
        .encode_to_vec();
        assert_eq!(Contents::of(&bytes).weights, [("fp32", 0)].into());
    }
}
