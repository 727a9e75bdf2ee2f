//! 32-bit and 16-bit floats in one graph: each module computes in one of them, with casts between modules.

use florence2_layout::onnx::{DataType, NodeProto};
use half::f16;

use super::{Attribute, Graph, Value, attribute};
use crate::tensor::Tensor;

/// A value of floats in a graph.
#[derive(Clone)]
pub(super) enum FloatValue<'a> {
    /// A weight, which becomes an initializer of each type that it is used in.
    Weight(Tensor<'a>),
    /// An input or the output of a node, of this type.
    Computed(DataType),
}

impl<'a> Graph<'a> {
    /// The type of floats in the nodes of the current module.
    pub(super) fn float_type(&self) -> DataType {
        self.lowering.float_type(self.module.trim_end_matches('/'))
    }

    /// Registers `value` as floats of a type.
    pub(super) fn declare_floats(&mut self, value: &Value, data_type: DataType) {
        let float = FloatValue::Computed(data_type);
        self.floats.insert(value.to_string(), float);
    }

    /// `value` as floats of type `to`; values of other types are returned unchanged. Values outside the range of
    /// 16-bit floats are clamped to it, such as the least float in masks.
    pub(super) fn in_float_type(&mut self, value: &Value, to: DataType) -> Value {
        let name = match to {
            DataType::Float16 => format!("{value}.float16"),
            _ => format!("{value}.float32"),
        };
        match self.floats.get(value.name()) {
            None => return value.clone(),
            Some(FloatValue::Computed(data_type)) if *data_type == to => return value.clone(),
            Some(FloatValue::Computed(_)) if self.floats.contains_key(&name) => {}
            Some(FloatValue::Computed(_)) => self.nodes.push(NodeProto {
                input: vec![value.to_string()],
                output: vec![name.clone()],
                name: format!("{name}/Cast"),
                op_type: "Cast".to_owned(),
                attribute: vec![attribute("to", &Attribute::Int(to as i64))],
                ..NodeProto::default()
            }),
            Some(FloatValue::Weight(weight)) => {
                let weight = weight.clone();
                if to != DataType::Float16 {
                    return self.initializer(&weight);
                }
                return self.initializer(&to_float16(&weight).renamed(&name));
            }
        }
        let converted = Value(name.into());
        self.declare_floats(&converted, to);
        converted
    }
}

fn to_float16<'a>(weight: &Tensor<'a>) -> Tensor<'a, f16> {
    let (least, greatest) = (f16::MIN.to_f32(), f16::MAX.to_f32());
    weight.derived("float16", weight.shape(), move |values| {
        let convert = |value: f32| f16::from_f32(value.clamp(least, greatest));
        values.into_iter().map(convert).collect()
    })
}
#[cfg(test)]
mod tests {
    use florence2_layout::onnx::{GraphProto, ValueInfoProto};

    use super::*;
    use crate::graph::initializer::Initializer;
    use crate::lowering::Lowering;
    use crate::weight_dtypes::WeightDtypes;
    use florence2_layout::dtypes::Dtype;

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

    /// A graph in 16-bit floats but for the modules that match `kept`.
    fn float16_graph(kept: &[String], float16_io: bool) -> Graph<'_> {
        Graph::new(Lowering {
            dtypes: WeightDtypes::new(Dtype::Fp16, kept),
            float16_io,
            ..Lowering::default()
        })
    }

    fn scaled(graph: &mut Graph<'_>, x: &Value, name: &'static str, factor: f32) -> Value {
        graph.within(name, |graph| {
            let factor = graph.weight(&Tensor::new(name, [1], move || vec![factor]));
            graph.mul(x, &factor)
        })
    }

    fn three_products(kept: &[String], float16_io: bool) -> GraphProto {
        let mut graph = float16_graph(kept, float16_io);
        let x = graph.input("x", DataType::Float, &[1.into()]);
        let a = scaled(&mut graph, &x, "a", 2.0);
        let b = scaled(&mut graph, &a, "b", f32::MIN);
        let c = scaled(&mut graph, &b, "c", 4.0);
        graph.output("y", &c, &[1.into()]);
        let (proto, _, weights) = graph.finish("test");
        let initializer = weights.iter().map(Initializer::inline).collect();
        GraphProto { initializer, ..proto }
    }

    fn is_float(value: &ValueInfoProto) -> bool {
        let tensor = value.r#type.as_ref().and_then(|value| value.tensor_type.as_ref());
        tensor.is_some_and(|tensor| tensor.elem_type == DataType::Float as i32)
    }

    #[test]
    fn kept_modules_are_not_rounded_in_between() {
        let proto = three_products(&["a".to_owned(), "b".to_owned()], false);
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
        let names: Vec<&str> = proto
            .initializer
            .iter()
            .map(|weight| weight.name.as_str())
            .collect();
        assert_eq!(names, ["a", "b", "c.float16"]);
    }

    #[test]
    fn inputs_and_outputs_are_converted_or_not() {
        let proto = three_products(&[], false);
        assert_eq!(nodes(&proto.node)[0], "x.float16 = Cast10(x)");
        assert!(is_float(&proto.input[0]) && is_float(&proto.output[0]));
        let proto = three_products(&[], true);
        assert!(!is_float(&proto.input[0]) && !is_float(&proto.output[0]));
        assert_eq!(nodes(&proto.node).len(), 3);
        assert_eq!(proto.node[2].output, ["y"]);
    }

    #[test]
    fn weights_that_overflow_become_the_least_or_the_greatest() {
        let weight = Tensor::new("w", [4], || vec![f32::MIN, 1e6, 0.1, -1e-9]);
        let halves = to_float16(&weight).values();
        assert_eq!(halves[..2], [f16::MIN, f16::MAX]);
        assert_eq!(halves[2], f16::from_f32(0.1));
        assert_eq!(halves[3].to_f32(), 0.0);
    }

    #[test]
    fn branches_return_float16_even_of_kept_modules() {
        let kept = ["kept".to_owned()];
        let mut graph = float16_graph(&kept, true);
        let x = graph.input("x", DataType::Float, &[1.into()]);
        let flag = graph.input("flag", DataType::Bool, &[1.into()]);
        let [y] = graph.if_else(
            &flag,
            |graph| [scaled(graph, &x, "kept", 2.0)],
            |graph| [graph.zeros(&[1])],
        );
        graph.output("y", &y, &[1.into()]);
        let (proto, ..) = graph.finish("test");
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
