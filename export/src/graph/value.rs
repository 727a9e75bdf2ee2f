//! Values and attributes of a graph, and their protobuf.

use std::fmt;
use std::rc::Rc;

use florence2_layout::onnx::{
    AttributeProto, AttributeType, DataType, DimensionProto, DimensionValue, GraphProto, TensorProto,
    TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
};

/// A tensor in a graph by its name: an input, a weight, or the output of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Value(pub(super) Rc<str>);

impl Value {
    /// An optional input that is left out.
    pub(crate) fn absent() -> Self {
        Value("".into())
    }

    pub(super) fn name(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Value {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A size along an axis of an input or output: known, or named and free.
#[derive(Debug, Clone)]
pub(crate) enum Dim {
    Size(usize),
    Name(&'static str),
}

impl From<usize> for Dim {
    fn from(size: usize) -> Self {
        Dim::Size(size)
    }
}

impl From<&'static str> for Dim {
    fn from(name: &'static str) -> Self {
        Dim::Name(name)
    }
}

/// An attribute of a node.
#[derive(Clone)]
pub(crate) enum Attribute<'s> {
    Int(i64),
    Float(f32),
    Ints(&'s [i64]),
    Text(&'s str),
    Graph(GraphProto),
    Tensor(TensorProto),
    /// The attribute of this name and type of the function that the node is in.
    Parameter(&'s str, AttributeType),
}

/// A tensor of an unknown shape in protobuf.
pub(super) fn value_of_any_shape(value: &Value, data_type: DataType) -> ValueInfoProto {
    ValueInfoProto {
        name: value.to_string(),
        r#type: Some(TypeProto {
            tensor_type: Some(TensorTypeProto {
                elem_type: data_type as i32,
                shape: None,
            }),
            ..TypeProto::default()
        }),
        ..ValueInfoProto::default()
    }
}

/// The attribute `name` of a node in protobuf.
pub(super) fn attribute(name: &str, value: &Attribute<'_>) -> AttributeProto {
    let mut attribute = AttributeProto {
        name: name.to_owned(),
        ..AttributeProto::default()
    };
    let kind = match value {
        Attribute::Int(value) => {
            attribute.i = Some(*value);
            AttributeType::Int
        }
        Attribute::Float(value) => {
            attribute.f = Some(*value);
            AttributeType::Float
        }
        Attribute::Ints(values) => {
            attribute.ints = values.to_vec();
            AttributeType::Ints
        }
        Attribute::Text(value) => {
            attribute.s = Some(value.as_bytes().to_vec().into());
            AttributeType::String
        }
        Attribute::Graph(graph) => {
            attribute.g = Some(graph.clone());
            AttributeType::Graph
        }
        Attribute::Tensor(tensor) => {
            attribute.t = Some(tensor.clone());
            AttributeType::Tensor
        }
        Attribute::Parameter(name, kind) => {
            attribute.ref_attr_name = (*name).to_owned();
            *kind
        }
    };
    attribute.r#type = kind as i32;
    attribute
}

/// The input or output `name` in protobuf.
pub(super) fn value_info(name: &str, data_type: DataType, dims: &[Dim]) -> ValueInfoProto {
    let dim = |dim: &Dim| DimensionProto {
        value: Some(match dim {
            Dim::Size(size) => DimensionValue::Size(*size as i64),
            Dim::Name(name) => DimensionValue::Name((*name).to_owned()),
        }),
        ..DimensionProto::default()
    };
    let mut value = value_of_any_shape(&Value(name.into()), data_type);
    if let Some(tensor) = value.r#type.as_mut().and_then(|kind| kind.tensor_type.as_mut()) {
        let dim = dims.iter().map(dim).collect();
        tensor.shape = Some(TensorShapeProto { dim });
    }
    value
}
