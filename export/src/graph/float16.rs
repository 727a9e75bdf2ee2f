//! A finished graph in 16-bit floats.

use std::collections::BTreeMap;

use half::f16;

use super::initializer::Initializer;
use super::replace::module_of;
use super::{Attribute, Graph, attribute};
use crate::tensor::Tensor;
use florence2_layout::onnx::{DataType, NodeProto, TensorProto, TypeProto, ValueInfoProto};

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
    /// and outputs too, of which `io` tells by their names. What lies outside their range becomes the nearest that they
    /// have: so the least float of masks does. Casts stand where the types meet.
    pub(crate) fn into_float16(mut self, is_kept: &dyn Fn(&str) -> bool, io: &dyn Fn(&str) -> bool) -> Self {
        let mut floats = Floats::new();
        for input in self.inputs.iter_mut().filter(|input| is_float(input)) {
            let name = input.name.clone();
            let names = match io(&name) {
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
                true => self.in_type(&value, io(&output), &mut floats),
                false => value,
            };
            self.output_names.insert(value, output);
        }
        self.outputs
            .iter_mut()
            .filter(|output| is_float(output) && io(&output.name))
            .for_each(|output| set_element_type(output, DataType::Float16));
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
            ..NodeProto::default()
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
        raw_data: Some(f16::ZERO.to_le_bytes().to_vec().into()),
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
        ..
    }) = &mut value.r#type
    {
        tensor.elem_type = data_type as i32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Value;

    /// Nodes as `output = operator(inputs)`.
    fn nodes(nodes: &[NodeProto]) -> Vec<String> {
        let line = |node: &NodeProto| {
            let to = node.attribute.iter().find(|attribute| attribute.name == "to");
            let to = to.and_then(|to| to.i).map_or(String::new(), |to| format!("{to}"));
            format!(
                "{} = {}{to}({})",
                node.output[0],
                node.op_type,
                node.input.join(", ")
            )
        };
        nodes.iter().map(line).collect()
    }

    fn scaled(graph: &mut Graph<'static>, x: &Value, name: &str, factor: f32) -> Value {
        graph.within(name, |graph| {
            let factor = graph.weight(&Tensor::new(name, [1], move || vec![factor]));
            graph.mul(x, &factor)
        })
    }

    fn graph() -> Graph<'static> {
        let mut graph = Graph::default();
        let x = graph.input("x", DataType::Float, &[1.into()]);
        let a = scaled(&mut graph, &x, "a", 2.0);
        let b = scaled(&mut graph, &a, "b", f32::MIN);
        let c = scaled(&mut graph, &b, "c", 4.0);
        graph.output("y", &c, DataType::Float, &[1.into()]);
        graph
    }

    #[test]
    fn what_is_kept_is_not_rounded_in_between() {
        let kept = |module: &str| module == "a" || module == "b";
        let (proto, _, weights) = graph().into_float16(&kept, &|_| false).finish("test");
        assert_eq!(
            nodes(&proto.node),
            [
                "a/Mul_1 = Mul(x, a)",
                "b/Mul_2 = Mul(a/Mul_1, b)",
                "b/Mul_2.float16 = Cast10(b/Mul_2)",
                "c/Mul_3 = Mul(b/Mul_2.float16, c.float16)",
                "y = Cast1(c/Mul_3)",
            ]
        );
        let names: Vec<&str> = weights.iter().map(|weight| weight.name.as_str()).collect();
        assert_eq!(names, ["a", "b", "c.float16"]);
    }

    #[test]
    fn inputs_and_outputs_are_converted_or_not() {
        let (proto, ..) = graph().into_float16(&|_| false, &|_| false).finish("test");
        assert_eq!(nodes(&proto.node)[0], "x.float16 = Cast10(x)");
        assert!(is_float(&proto.input[0]) && is_float(&proto.output[0]));
        let (proto, ..) = graph().into_float16(&|_| false, &|_| true).finish("test");
        assert!(!is_float(&proto.input[0]) && !is_float(&proto.output[0]));
        assert_eq!(nodes(&proto.node).len(), 3);
        assert_eq!(proto.node[2].output, ["y"]);
    }

    #[test]
    fn what_overflows_becomes_the_least_or_the_greatest() {
        let weight = Tensor::new("w", [4], || vec![f32::MIN, 1e6, 0.1, -1e-9]);
        let halves = in_half(&weight).values();
        assert_eq!(halves[..2], [f16::MIN, f16::MAX]);
        assert_eq!(halves[2], f16::from_f32(0.1));
        assert_eq!(halves[3].to_f32(), 0.0);
    }

    #[test]
    fn branches_give_halves_whatever_is_kept_in_them() {
        let mut graph = Graph::default();
        let x = graph.input("x", DataType::Float, &[1.into()]);
        let flag = graph.input("flag", DataType::Bool, &[1.into()]);
        let [y] = graph.if_else(
            &flag,
            |graph| [scaled(graph, &x, "kept", 2.0)],
            |graph| [graph.zeros(&[1])],
        );
        graph.output("y", &y, DataType::Float, &[1.into()]);
        let (proto, ..) = graph
            .into_float16(&|module| module == "kept", &|_| true)
            .finish("test");
        let branches: Vec<_> = proto.node[0]
            .attribute
            .iter()
            .filter_map(|branch| branch.g.as_ref())
            .collect();
        assert_eq!(
            nodes(&branches[0].node),
            [
                "x.float32 = Cast1(x)",
                "kept/Mul_1 = Mul(x.float32, kept)",
                "kept/Mul_1.float16 = Cast10(kept/Mul_1)"
            ]
        );
        assert_eq!(branches[0].output[0].name, "kept/Mul_1.float16");
        let zeros = &branches[1].node[0].attribute[0];
        assert_eq!(zeros.t.as_ref().unwrap().data_type, DataType::Float16 as i32);
        for branch in branches {
            assert!(!is_float(&branch.output[0]));
        }
    }
}
