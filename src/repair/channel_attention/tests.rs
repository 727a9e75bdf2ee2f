//! Small graphs with a patch embedding and an attention.

use florence2_layout::onnx::{AttributeProto, DataType, NodeProto, TensorProto};

use super::*;
use crate::repair::constants::{Scalar, attribute};
use crate::repair::factor::{ALPHA, SCALE};

const SIZE: ImageSize = ImageSize {
    width: 96,
    height: 64,
};
/// Of the first stage: the patch embedding of the graphs has stride 4.
const RIGHT: f64 = 0.051_031_036_307_982_88; // (24 * 16) ** -0.5
const FROZEN: f64 = 0.25;

fn ints(name: &str, ints: &[i64]) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        ints: ints.into(),
        ..AttributeProto::default()
    }
}

fn float(name: &str, value: f64) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        f: Some(value as f32),
        ..AttributeProto::default()
    }
}

fn node(op: &str, input: &[&str], output: &str, attribute: Vec<AttributeProto>) -> NodeProto {
    NodeProto {
        op_type: op.into(),
        input: input.iter().map(|&name| name.into()).collect(),
        output: vec![output.into()],
        attribute,
        ..NodeProto::default()
    }
}

fn scalar(name: &str, value: f64, data_type: DataType) -> TensorProto {
    let data_type = data_type as i32;
    TensorProto {
        name: name.into(),
        ..Scalar { value, data_type }.tensor().unwrap()
    }
}

/// A patch embedding, and an attention whose query `[batch, groups, N, d]` and key come from one projection; `scaled` is
/// what the scores' softmax is of.
fn graph(nodes: Vec<NodeProto>, initializer: Vec<TensorProto>) -> GraphProto {
    let split = |name: &str| {
        let heads = format!("{name}_heads");
        [
            node("Reshape", &["x", "shape"], &heads, vec![]),
            node("Transpose", &[&heads], name, vec![ints("perm", &[0, 2, 1, 3])]),
        ]
    };
    let embedding = [
        ints("kernel_shape", &[7, 7]),
        ints("strides", &[4, 4]),
        ints("pads", &[3, 3, 3, 3]),
    ];
    let mut node_list = vec![node("Conv", &["pixels", "w"], "x", embedding.into())];
    node_list.extend(["query", "key"].into_iter().flat_map(split));
    node_list.extend(nodes);
    node_list.push(node("Softmax", &["scaled"], "probabilities", vec![]));
    GraphProto {
        node: node_list,
        initializer,
        ..GraphProto::default()
    }
}

fn transposed(input: &str, output: &str) -> NodeProto {
    node("Transpose", &[input], output, vec![ints("perm", &[0, 1, 3, 2])])
}

/// Repairs a graph; its scales before and after.
fn repaired(mut graph: GraphProto) -> (Vec<f64>, GraphProto) {
    let found = frozen_scales(&graph, SIZE);
    let scales = found.iter().map(|scale| scale.found).collect();
    found.into_iter().for_each(|scale| scale.apply(&mut graph));
    let left = frozen_scales(&graph, SIZE);
    assert!(left.is_empty(), "{left:?}");
    (scales, graph)
}

fn is_close(found: &[f64], wanted: &[f64]) -> bool {
    let close = |(found, wanted): (&f64, &f64)| (found / wanted - 1.0).abs() < 1e-3;
    found.len() == wanted.len() && found.iter().zip(wanted).all(close)
}

#[test]
fn a_factor_on_the_query_is_replaced_and_its_constant_left_to_others() {
    let (scales, graph) = repaired(graph(
        vec![
            node("Mul", &["query", "scale"], "q", vec![]),
            transposed("q", "qt"),
            node("MatMul", &["qt", "key"], "scaled", vec![]),
            node("Add", &["other", "scale"], "sum", vec![]),
        ],
        vec![scalar("scale", FROZEN, DataType::Float)],
    ));
    assert!(is_close(&scales, &[FROZEN]));
    let values = Values::of(&graph);
    assert_eq!(values.scalar("scale").unwrap().value, FROZEN);
    let (_, mul) = values.producer("q").unwrap();
    let set = values.scalar(&mul.input[1]).unwrap();
    assert_eq!(set.value, f64::from(RIGHT as f32));
    assert_eq!(
        graph
            .node
            .iter()
            .find(|node| node.op_type == "Add")
            .unwrap()
            .input[1],
        "scale"
    );
}

#[test]
fn factors_on_query_and_key_stay_equal_in_16_bits_too() {
    let root = FROZEN.sqrt();
    let (scales, graph) = repaired(graph(
        vec![
            node(
                "Cast",
                &["wide"],
                "narrow",
                vec![AttributeProto {
                    name: "to".into(),
                    i: Some(DataType::Float16 as i64),
                    ..AttributeProto::default()
                }],
            ),
            transposed("query", "qt"),
            node("Mul", &["qt", "narrow"], "q", vec![]),
            node("Mul", &["root", "key"], "k", vec![]),
            node("MatMul", &["q", "k"], "scaled", vec![]),
        ],
        vec![
            scalar("wide", root, DataType::Float),
            scalar("root", root, DataType::Float16),
        ],
    ));
    assert!(is_close(&scales, &[FROZEN]));
    let values = Values::of(&graph);
    let factors = [("q", 1), ("k", 0)].map(|(output, input)| {
        let (_, mul) = values.producer(output).unwrap();
        values.scalar(&mul.input[input]).unwrap()
    });
    assert!(is_close(&factors.map(|factor| factor.value), &[RIGHT.sqrt(); 2]));
    assert!(
        factors
            .iter()
            .all(|factor| factor.data_type == DataType::Float16 as i32)
    );
}

#[test]
fn divisors_and_alpha_are_factors() {
    let (scales, graph) = repaired(graph(
        vec![
            node(
                "FusedMatMul",
                &["query", "key"],
                "scores",
                vec![
                    float("alpha", 0.5),
                    AttributeProto {
                        name: "transA".into(),
                        i: Some(1),
                        ..AttributeProto::default()
                    },
                ],
            ),
            node("Div", &["scores", "divisor"], "scaled", vec![]),
        ],
        vec![scalar("divisor", 0.5 / FROZEN, DataType::Double)],
    ));
    assert!(is_close(&scales, &[FROZEN]));
    let values = Values::of(&graph);
    let (_, fused) = values.producer("scores").unwrap();
    let (_, division) = values.producer("scaled").unwrap();
    let alpha = f64::from(attribute(fused, ALPHA).unwrap().f.unwrap());
    let divisor = values.scalar(&division.input[1]).unwrap().value;
    assert!(is_close(&[alpha / divisor], &[RIGHT]));
}

#[test]
fn the_scale_of_an_attention_operator_is_a_factor() {
    let attention = |inputs: [&str; 2]| {
        let inputs = [inputs[0], inputs[1], "value"];
        node("Attention", &inputs, "scaled", vec![float(SCALE, FROZEN)])
    };
    let channel = vec![
        transposed("query", "qt"),
        transposed("key", "kt"),
        attention(["qt", "kt"]),
    ];
    let (scales, graph) = repaired(graph(channel, vec![]));
    assert!(is_close(&scales, &[FROZEN]));
    let (_, attention_node) = Values::of(&graph).producer("scaled").unwrap();
    let scale = attribute(attention_node, SCALE).unwrap().f.unwrap();
    assert!(is_close(&[scale.into()], &[RIGHT]));
    let among_tokens = self::graph(vec![attention(["query", "key"])], vec![]);
    assert!(frozen_scales(&among_tokens, SIZE).is_empty());
}

#[test]
fn a_repaired_graph_can_be_repaired_for_another_size() {
    let constant = node("Constant", &[], "scale", vec![float("value_float", FROZEN)]);
    let (_, mut graph) = repaired(graph(
        vec![
            constant,
            node("Mul", &["query", "scale"], "q", vec![]),
            transposed("q", "qt"),
            node("MatMul", &["qt", "key"], "scaled", vec![]),
        ],
        vec![],
    ));
    let other = ImageSize::new(32, 32);
    for scale in frozen_scales(&graph, other) {
        scale.apply(&mut graph);
    }
    assert!(frozen_scales(&graph, other).is_empty());
    assert_eq!(graph.initializer.len(), 1);
}

#[test]
fn attentions_among_tokens_and_scales_that_are_computed_or_unknown_are_left_alone() {
    let scale = || vec![scalar("scale", FROZEN, DataType::Float)];
    let channel = |scaled: NodeProto| {
        vec![
            transposed("query", "qt"),
            node("MatMul", &["qt", "key"], "scores", vec![]),
            scaled,
        ]
    };
    let among_tokens = vec![
        node("Mul", &["query", "scale"], "q", vec![]),
        transposed("key", "kt"),
        node("MatMul", &["q", "kt"], "scaled", vec![]),
    ];
    let computed = channel(node("Mul", &["scores", "of_shape"], "scaled", vec![]));
    let without = channel(node("Identity", &["scores"], "scaled", vec![]));
    for (nodes, what) in [
        (among_tokens, "tokens"),
        (computed, "computed"),
        (without, "none"),
    ] {
        assert!(frozen_scales(&graph(nodes, scale()), SIZE).is_empty(), "{what}");
    }
    let right = channel(node("Mul", &["scores", "scale"], "scaled", vec![]));
    let initializer = vec![scalar("scale", RIGHT, DataType::Float)];
    assert!(frozen_scales(&graph(right, initializer), SIZE).is_empty());
}
