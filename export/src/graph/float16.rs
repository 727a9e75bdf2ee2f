//! A finished graph in 16-bit floats.

use std::collections::BTreeMap;

use half::f16;

use super::initializer::Initializer;
use super::replace::module_of;
use super::{Attribute, Graph, attribute};
use crate::onnx::{DataType, NodeProto, TensorProto, TypeProto, ValueInfoProto};
use crate::tensor::Tensor;

/// The names under which a value of floats is there, in either type.
#[derive(Debug, Clone, Default)]
struct Names {
    half: Option<String>,
    single: Option<String>,
}

/// Values of floats by the name that they had at first; those of other types are not among them.
type Floats = BTreeMap<String, Names>;

impl<'a> Graph<'a> {
    /// Turns weights, constants and arithmetic into 16-bit floats, but for the nodes of modules that `is_kept`; inputs
    /// and outputs too, if `io` is set. What lies outside their range becomes the nearest that they have: so the least
    /// float of masks does. Casts stand where the types meet.
    pub(crate) fn into_float16(mut self, is_kept: &dyn Fn(&str) -> bool, io: bool) -> Self {
        let mut floats = Floats::new();
        for input in self.inputs.iter_mut().filter(|input| is_float(input)) {
            let name = input.name.clone();
            let names = match io {
                true => {
                    set_element_type(input, DataType::Float16);
                    Names {
                        half: Some(name.clone()),
                        single: None,
                    }
                }
                false => Names {
                    half: None,
                    single: Some(name.clone()),
                },
            };
            floats.insert(name, names);
        }
        for initializer in self
            .initializers
            .iter()
            .filter(|weight| weight.floats().is_some())
        {
            floats.insert(
                initializer.name.clone(),
                Names {
                    half: None,
                    single: Some(initializer.name.clone()),
                },
            );
        }
        let nodes = std::mem::take(&mut self.nodes);
        nodes
            .into_iter()
            .for_each(|node| self.push_retyped(node, &mut floats, is_kept));

        let output_names = std::mem::take(&mut self.output_names);
        for (value, output) in output_names {
            let value = match floats.contains_key(&value) {
                true => self.in_type(&value, io, &mut floats),
                false => value,
            };
            self.output_names.insert(value, output);
        }
        if io {
            self.outputs
                .iter_mut()
                .filter(|output| is_float(output))
                .for_each(|output| set_element_type(output, DataType::Float16));
        }
        self.drop_unused_weights();
        self
    }

    /// Appends a node in its new type.
    fn push_retyped(&mut self, mut node: NodeProto, floats: &mut Floats, is_kept: &dyn Fn(&str) -> bool) {
        let half = !is_kept(module_of(&node));
        let gives_floats = self.retype_attributes(&mut node, half, floats, is_kept);
        let takes_floats = node.input.first().is_some_and(|input| floats.contains_key(input));
        for input in &mut node.input {
            if floats.contains_key(input) {
                *input = self.in_type(input, half, floats);
            }
        }
        let branches = node.attribute.iter().any(|attribute| attribute.g.is_some());
        if gives_floats.unwrap_or(takes_floats) {
            for output in &node.output {
                let name = Some(output.clone());
                let names = match half || branches {
                    true => Names {
                        half: name,
                        single: None,
                    },
                    false => Names {
                        half: None,
                        single: name,
                    },
                };
                floats.insert(output.clone(), names);
            }
        }
        self.nodes.push(node);
    }

    /// Whether the node gives floats, as far as its operator and attributes say; otherwise it does if it takes them.
    fn retype_attributes(
        &mut self,
        node: &mut NodeProto,
        half: bool,
        floats: &mut Floats,
        is_kept: &dyn Fn(&str) -> bool,
    ) -> Option<bool> {
        match node.op_type.as_str() {
            "Shape" | "Greater" => Some(false),
            "Cast" => {
                let to = node.attribute.first_mut()?;
                let to_float = to.i == Some(DataType::Float as i64);
                if to_float && half {
                    to.i = Some(DataType::Float16 as i64);
                }
                Some(to_float)
            }
            "ConstantOfShape" => {
                // Its own default is a 32-bit zero.
                if half && node.attribute.is_empty() {
                    node.attribute
                        .push(attribute("value", &Attribute::Tensor(half_zero())));
                }
                Some(true)
            }
            "If" => {
                for branch in node
                    .attribute
                    .iter_mut()
                    .filter_map(|attribute| attribute.g.as_mut())
                {
                    let mut inner = floats.clone();
                    let outer = std::mem::take(&mut self.nodes);
                    let nodes = std::mem::take(&mut branch.node);
                    nodes
                        .into_iter()
                        .for_each(|node| self.push_retyped(node, &mut inner, is_kept));
                    for output in &mut branch.output {
                        output.name = self.in_type(&output.name, true, &mut inner);
                        set_element_type(output, DataType::Float16);
                    }
                    branch.node = std::mem::replace(&mut self.nodes, outer);
                }
                Some(true)
            }
            _ => None,
        }
    }

    /// The name of a value in one of the types; it is converted, if it is not there yet.
    fn in_type(&mut self, value: &str, half: bool, floats: &mut Floats) -> String {
        let names = floats.entry(value.to_owned()).or_default();
        let (known, other, suffix, to) = match half {
            true => (&mut names.half, &names.single, "float16", DataType::Float16),
            false => (&mut names.single, &names.half, "float32", DataType::Float),
        };
        if let Some(known) = known {
            return known.clone();
        }
        let name = format!("{value}.{suffix}");
        let other = other.clone().unwrap_or_else(|| value.to_owned());
        *known = Some(name.clone());
        if let Some(weight) = self.float_weight(&other) {
            self.weight(&in_half(&weight).renamed(&name));
            return name;
        }
        self.nodes.push(NodeProto {
            input: vec![other],
            output: vec![name.clone()],
            name: format!("{name}/Cast"),
            op_type: "Cast".to_owned(),
            attribute: vec![attribute("to", &Attribute::Int(to as i64))],
            domain: String::new(),
        });
        name
    }

    fn float_weight(&self, name: &str) -> Option<Tensor<'a>> {
        if !self.initializer_names.contains(name) {
            return None;
        }
        let weight = self.initializers.iter().find(|weight| weight.name == name)?;
        Initializer::floats(weight).cloned()
    }
}

/// A weight in 16-bit floats.
fn in_half<'a>(weight: &Tensor<'a>) -> Tensor<'a, f16> {
    let (least, greatest) = (f16::MIN.to_f32(), f16::MAX.to_f32());
    weight.derived("float16", weight.shape(), move |values| {
        let half = |value: f32| f16::from_f32(value.clamp(least, greatest));
        values.into_iter().map(half).collect()
    })
}

fn half_zero() -> TensorProto {
    TensorProto {
        dims: vec![1],
        data_type: DataType::Float16 as i32,
        raw_data: Some(f16::ZERO.to_le_bytes().to_vec()),
        ..TensorProto::default()
    }
}

fn is_float(value: &ValueInfoProto) -> bool {
    let tensor = value.r#type.as_ref().and_then(|value| value.tensor_type.as_ref());
    tensor.is_some_and(|tensor| tensor.elem_type == DataType::Float as i32)
}

fn set_element_type(value: &mut ValueInfoProto, data_type: DataType) {
    if let Some(TypeProto {
        tensor_type: Some(tensor),
    }) = &mut value.r#type
    {
        tensor.elem_type = data_type as i32;
    }
}
