//! ONNX graphs being built: nodes, weights, inputs and outputs.

mod contrib;
mod floats;
mod function;
mod initializer;
mod observe;
mod ops;
mod serialize;
mod value;

use std::collections::{BTreeMap, BTreeSet};

use crate::lowering::Lowering;
use crate::tensor::Tensor;
pub(crate) use contrib::{KeyMask, Transposed};
use floats::FloatValue;
use florence2_layout::onnx::{DataType, GraphProto, NodeProto, ValueInfoProto};
pub(crate) use function::Function;
use function::Functions;
pub(crate) use initializer::Element;
use initializer::Initializer;
pub(crate) use ops::{Conv2d, LAYER_NORM_EPSILON};
pub(crate) use serialize::{ModelHeader, serialize_inline, write};
pub(crate) use value::{Attribute, Dim, Value};
use value::{attribute, value_info, value_of_any_shape};

/// A graph being built. Weights are shared by name; a subgraph's weights belong to the graph around it.
#[derive(Default)]
pub(crate) struct Graph<'a> {
    pub(crate) lowering: Lowering<'a>,
    /// The values of floats, by name.
    floats: BTreeMap<String, FloatValue<'a>>,
    nodes: Vec<NodeProto>,
    initializers: Vec<Initializer<'a>>,
    initializer_names: BTreeSet<String>,
    inputs: Vec<ValueInfoProto>,
    outputs: Vec<ValueInfoProto>,
    /// Types of values between nodes.
    value_info: Vec<ValueInfoProto>,
    /// The functions that nodes call, by name.
    functions: Functions,
    /// Names of outputs by the names of their values.
    output_names: BTreeMap<String, String>,
    node_count: usize,
    /// Path of the module whose nodes are being made, with a `/` behind it: the prefix of their names.
    module: String,
}

impl<'a> Graph<'a> {
    /// A graph without nodes.
    pub(crate) fn new(lowering: Lowering<'a>) -> Self {
        Graph {
            lowering,
            ..Graph::default()
        }
    }

    /// Declares an input of integers or of floats, in the type that [`Lowering::io_type`] names.
    pub(crate) fn input(&mut self, name: &str, data_type: DataType, dims: &[Dim]) -> Value {
        let value = Value(name.into());
        let mut data_type = data_type;
        if data_type == DataType::Float {
            data_type = self.lowering.io_type(name);
            self.declare_floats(&value, data_type);
        }
        self.inputs.push(value_info(name, data_type, dims));
        value
    }

    /// Makes the floats `value`, the output of a node of this graph, the output `name`, in the type that
    /// [`Lowering::io_type`] names.
    pub(crate) fn output(&mut self, name: &str, value: &Value, dims: &[Dim]) {
        let data_type = self.lowering.io_type(name);
        let value = self.in_float_type(value, data_type);
        self.outputs.push(value_info(name, data_type, dims));
        self.output_names.insert(value.to_string(), name.to_owned());
    }

    /// A weight or another named constant. Weights of floats are stored in the types that nodes use them in.
    pub(crate) fn weight<T: Element>(&mut self, tensor: &Tensor<'a, T>) -> Value {
        let Some(weight) = T::as_floats(tensor) else {
            return self.initializer(tensor);
        };
        let float = FloatValue::Weight(weight.clone());
        self.floats.insert(weight.name().to_owned(), float);
        Value(weight.name().into())
    }

    fn initializer<T: Element>(&mut self, tensor: &Tensor<'a, T>) -> Value {
        if self.initializer_names.insert(tensor.name().to_owned()) {
            self.initializers.push(Initializer::new(tensor.clone()));
        }
        Value(tensor.name().into())
    }

    /// A float without dimensions.
    pub(crate) fn scalar(&mut self, value: f32) -> Value {
        self.weight(&Tensor::new(format!("float_{value:e}"), [], move || vec![value]))
    }

    /// A vector of integers, such as a shape.
    pub(crate) fn ints(&mut self, values: &[i64]) -> Value {
        let digits: Vec<String> = values.iter().map(i64::to_string).collect();
        let name = format!("ints_{}", digits.join("_"));
        let values = values.to_vec();
        self.weight(&Tensor::new(name, [values.len()], move || values.clone()))
    }

    /// An integer without dimensions.
    pub(crate) fn int(&mut self, value: i64) -> Value {
        self.weight(&Tensor::new(format!("int_{value}"), [], move || vec![value]))
    }

    /// A 32-bit integer without dimensions.
    pub(crate) fn int32(&mut self, value: i32) -> Value {
        self.weight(&Tensor::new(format!("int32_{value}"), [], move || vec![value]))
    }

    /// Makes the nodes of `build` part of `module`, a path. Their names begin with it, for profiles, and their floats have
    /// the [type](Lowering::float_type) of the module.
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

    /// Adds a node with `outputs` outputs. Its inputs of floats are converted to the type that the current module computes
    /// in.
    fn push(
        &mut self,
        domain: &str,
        op: &str,
        inputs: &[&Value],
        attributes: &[(&str, Attribute<'_>)],
        outputs: usize,
    ) -> Vec<Value> {
        let mut float = self.float_type();
        let returns_floats = match op {
            "Shape" | "Greater" => false,
            "Cast" => matches!(attributes, [(_, Attribute::Int(to))] if *to == float as i64),
            "If" => {
                float = self.lowering.float_type("");
                true
            }
            "ConstantOfShape" => true,
            _ => inputs.first().is_some_and(|x| self.floats.contains_key(x.name())),
        };
        let input = inputs
            .iter()
            .map(|value| self.in_float_type(value, float).to_string())
            .collect();
        self.node_count += 1;
        let name = format!("{}{op}_{}", self.module, self.node_count);
        let outputs: Vec<Value> = (0..outputs)
            .map(|index| match index {
                0 => Value(name.as_str().into()),
                _ => Value(format!("{name}_{index}").into()),
            })
            .collect();
        if returns_floats {
            outputs.iter().for_each(|value| self.declare_floats(value, float));
        }
        self.nodes.push(NodeProto {
            input,
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

    /// `If`: the values of `then` if `condition` (one bool) is true, else those of `otherwise`. Both must return
    /// outputs of nodes that they add: a subgraph's outputs can't be values from outside.
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
        // Values that are cast in one branch are not there in the other.
        let floats = self.floats.clone();
        let float = self.lowering.float_type("");
        let outputs = build(self).map(|value| self.in_float_type(&value, float));
        self.floats = floats;
        let node = std::mem::replace(&mut self.nodes, outer);
        GraphProto {
            node,
            name: name.to_owned(),
            output: outputs
                .iter()
                .map(|value| value_of_any_shape(value, float))
                .collect(),
            ..GraphProto::default()
        }
    }
}

/// What tests read of a graph.
#[cfg(test)]
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
