//! Building ONNX graphs: values, nodes, weights.

mod contrib;
mod float16;
mod function;
mod initializer;
mod observe;
mod ops;
#[cfg(test)]
mod parts;
mod replace;
mod serialize;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::rc::Rc;

use crate::tensor::Tensor;
pub(crate) use contrib::{
    BlockQuantizedWeight, CONTRIB_DOMAIN, FusedMatMul, KeyMask, Quantized, QuantizedWeight,
};
use florence2_layout::onnx::{
    AttributeProto, AttributeType, DataType, DimensionProto, DimensionValue, GraphProto, NodeProto,
    TensorProto, TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
};
pub(crate) use function::Function;
use function::Functions;
pub(crate) use initializer::Element;
use initializer::Initializer;
pub(crate) use ops::{Conv2d, LAYER_NORM_EPSILON};
pub(crate) use replace::UseOfWeight;
pub(crate) use serialize::{ModelHeader, serialize_inline, write};

/// A tensor in a graph: an input, a weight, or what a node gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Value(Rc<str>);

impl Value {
    /// In the place of an optional input that is not given.
    pub(crate) fn absent() -> Self {
        Value("".into())
    }

    fn name(&self) -> &str {
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
    /// What the function around the node was given as its attribute of this name and type.
    Parameter(&'s str, AttributeType),
}

/// A graph being built. Weights are shared by name; a subgraph's weights belong to the graph around it.
#[derive(Default)]
pub(crate) struct Graph<'a> {
    nodes: Vec<NodeProto>,
    initializers: Vec<Initializer<'a>>,
    initializer_names: BTreeSet<String>,
    inputs: Vec<ValueInfoProto>,
    outputs: Vec<ValueInfoProto>,
    /// What is said of values between nodes.
    value_info: Vec<ValueInfoProto>,
    /// Those that nodes call, by name.
    functions: Functions,
    /// Automatic names of values that are outputs, and what the outputs are called.
    output_names: BTreeMap<String, String>,
    nodes_made: usize,
    /// The module whose nodes are being made: the beginning of their names.
    module: String,
}

impl<'a> Graph<'a> {
    /// Declares an input.
    pub(crate) fn input(&mut self, name: &str, data_type: DataType, dims: &[Dim]) -> Value {
        self.inputs.push(value_info(name, data_type, dims));
        Value(name.into())
    }

    /// Makes `value`, which a node of this graph gives, the output `name`.
    pub(crate) fn output(&mut self, name: &str, value: &Value, data_type: DataType, dims: &[Dim]) {
        self.outputs.push(value_info(name, data_type, dims));
        self.output_names.insert(value.name().to_owned(), name.to_owned());
    }

    /// A weight, or another constant with a name.
    pub(crate) fn weight<T: Element>(&mut self, tensor: &Tensor<'a, T>) -> Value {
        self.initializer(tensor.name().to_owned(), || Initializer::new(tensor.clone()))
    }

    /// A float without dimensions.
    pub(crate) fn scalar(&mut self, value: f32) -> Value {
        self.constant(format!("float_{value:e}"), [], vec![value])
    }

    /// A vector of integers, such as a shape.
    pub(crate) fn ints(&mut self, values: &[i64]) -> Value {
        let digits: Vec<String> = values.iter().map(i64::to_string).collect();
        let name = format!("ints_{}", digits.join("_"));
        self.constant(name, [values.len()], values.to_vec())
    }

    /// An integer without dimensions.
    pub(crate) fn int(&mut self, value: i64) -> Value {
        self.constant(format!("int_{value}"), [], vec![value])
    }

    /// A 32-bit integer without dimensions.
    pub(crate) fn int32(&mut self, value: i32) -> Value {
        self.constant(format!("int32_{value}"), [], vec![value])
    }

    fn constant<T: Element>(&mut self, name: String, shape: impl Into<Vec<usize>>, values: Vec<T>) -> Value {
        self.initializer(name.clone(), || {
            Initializer::new(Tensor::new(name, shape, move || values.clone()))
        })
    }

    fn initializer(&mut self, name: String, initializer: impl FnOnce() -> Initializer<'a>) -> Value {
        if self.initializer_names.insert(name.clone()) {
            self.initializers.push(initializer());
        }
        Value(name.into())
    }

    /// The nodes that `build` makes get names that begin with `module`, the path of what they are part of: profiles
    /// then say where time goes.
    pub(crate) fn within<R>(&mut self, module: &str, build: impl FnOnce(&mut Self) -> R) -> R {
        let outer = std::mem::replace(&mut self.module, format!("{module}/"));
        let result = build(self);
        self.module = outer;
        result
    }

    /// Adds a node with one output, of a standard operator.
    pub(crate) fn node(
        &mut self,
        op: &str,
        inputs: &[&Value],
        attributes: &[(&str, Attribute<'_>)],
    ) -> Value {
        let [output] = self.nodes("", op, inputs, attributes);
        output
    }

    /// Adds a node of an operator of `domain` (empty: ONNX's own), with any number of outputs.
    pub(crate) fn nodes<const OUTPUTS: usize>(
        &mut self,
        domain: &str,
        op: &str,
        inputs: &[&Value],
        attributes: &[(&str, Attribute<'_>)],
    ) -> [Value; OUTPUTS] {
        let outputs = self.push(domain, op, inputs, attributes, OUTPUTS);
        std::array::from_fn(|index| outputs.get(index).cloned().unwrap_or_else(Value::absent))
    }

    /// Adds a node with `outputs` outputs.
    fn push(
        &mut self,
        domain: &str,
        op: &str,
        inputs: &[&Value],
        attributes: &[(&str, Attribute<'_>)],
        outputs: usize,
    ) -> Vec<Value> {
        self.nodes_made += 1;
        let name = format!("{}{op}_{}", self.module, self.nodes_made);
        let outputs: Vec<Value> = (0..outputs)
            .map(|index| match index {
                0 => Value(name.as_str().into()),
                _ => Value(format!("{name}_{index}").into()),
            })
            .collect();
        self.nodes.push(NodeProto {
            input: inputs.iter().map(|value| value.to_string()).collect(),
            output: outputs.iter().map(Value::to_string).collect(),
            name,
            op_type: op.to_owned(),
            attribute: attributes
                .iter()
                .map(|(name, value)| attribute(name, value))
                .collect(),
            domain: domain.to_owned(),
            ..NodeProto::default()
        });
        outputs
    }

    /// `If`: the values of `then` where `condition` (one bool) holds, else those of `otherwise`. Both must give
    /// what their own nodes made: a subgraph may not hand out a value from outside.
    pub(crate) fn if_else<const OUTPUTS: usize>(
        &mut self,
        condition: &Value,
        then: impl FnOnce(&mut Self) -> [Value; OUTPUTS],
        otherwise: impl FnOnce(&mut Self) -> [Value; OUTPUTS],
    ) -> [Value; OUTPUTS] {
        let then = self.branch("then", then);
        let otherwise = self.branch("else", otherwise);
        let attributes = [
            ("then_branch", Attribute::Graph(then)),
            ("else_branch", Attribute::Graph(otherwise)),
        ];
        self.nodes("", "If", &[condition], &attributes)
    }

    fn branch<const OUTPUTS: usize>(
        &mut self,
        name: &str,
        build: impl FnOnce(&mut Self) -> [Value; OUTPUTS],
    ) -> GraphProto {
        let outer = std::mem::take(&mut self.nodes);
        let outputs = build(self);
        let node = std::mem::replace(&mut self.nodes, outer);
        GraphProto {
            node,
            name: name.to_owned(),
            output: outputs.iter().map(float_of_any_shape).collect(),
            ..GraphProto::default()
        }
    }
}

/// Says that a value is a float32 tensor.
fn float_of_any_shape(value: &Value) -> ValueInfoProto {
    ValueInfoProto {
        name: value.to_string(),
        r#type: Some(TypeProto {
            tensor_type: Some(TensorTypeProto {
                elem_type: DataType::Float as i32,
                shape: None,
            }),
            ..TypeProto::default()
        }),
        ..ValueInfoProto::default()
    }
}

fn attribute(name: &str, value: &Attribute<'_>) -> AttributeProto {
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

fn value_info(name: &str, data_type: DataType, dims: &[Dim]) -> ValueInfoProto {
    let dim = |dim: &Dim| DimensionProto {
        value: Some(match dim {
            Dim::Size(size) => DimensionValue::Size(*size as i64),
            Dim::Name(name) => DimensionValue::Name((*name).to_owned()),
        }),
        ..DimensionProto::default()
    };
    let shape = TensorShapeProto {
        dim: dims.iter().map(dim).collect(),
    };
    let tensor_type = TensorTypeProto {
        elem_type: data_type as i32,
        shape: Some(shape),
    };
    ValueInfoProto {
        name: name.to_owned(),
        r#type: Some(TypeProto {
            tensor_type: Some(tensor_type),
            ..TypeProto::default()
        }),
        ..ValueInfoProto::default()
    }
}
