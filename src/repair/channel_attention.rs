//! Channel attentions whose scale is frozen at another image size than the model's.
//!
//! An attention is found by its `Softmax` and the product of query and key before it. It is one among channels if the
//! product sums over tokens: if the axis that it sums over is not the last one, a head's features, of the `Reshape` that
//! splits the projection into heads. Its scale is the product of all constant factors on query, key and scores; a factor
//! that is computed from the input's shape is right at every size, and its attention is left alone.

use florence2_layout::onnx::{DataType, GraphProto, NodeProto, TensorProto};

use super::constants::{Scalar, Values, attribute, integers};
use crate::geometry::ImageSize;

/// Scales may differ by this factor from the right one: 16-bit floats round by a twentieth of it.
const TOLERANCE: f64 = 0.01;
/// The largest number of nodes between an attention's `Softmax` and its projections.
const MAX_NODES: usize = 32;

/// A frozen scale, and where it is.
#[derive(Debug)]
pub(super) struct FrozenScale {
    factors: Vec<Factor>,
    /// The scale that the graph has.
    found: f64,
    /// The scale that it should have.
    wanted: f64,
    /// Pixels for a token of the attention's stage, along each axis.
    pixels_per_token: u64,
}

/// A constant factor of the scores.
#[derive(Debug, Clone, Copy)]
struct Factor {
    node: usize,
    operand: Operand,
    scalar: Scalar,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Operand {
    /// This input of a `Mul`.
    Multiplier(usize),
    /// The second input of a `Div`.
    Divisor,
    /// An attribute: `alpha` of a `FusedMatMul`, `scale` of an `Attention`.
    Attribute(&'static str),
}

/// The scales in a vision encoder that are frozen at another image size than `size`, in the graph's order.
pub(super) fn frozen_scales(graph: &GraphProto, size: ImageSize) -> Vec<FrozenScale> {
    let values = Values::of(graph);
    let mut stage = Stage::of(size);
    let mut frozen = Vec::new();
    for (index, node) in graph.node.iter().enumerate() {
        if node.op_type.contains("Conv") {
            stage.enter(node, &values);
        } else if let Some(factors) = Scores::of(index, node, &values).and_then(Scores::channel_factors)
            && let Some(tokens) = stage.tokens()
        {
            let found = factors.iter().map(Factor::value).product();
            let wanted = (tokens as f64).powf(-0.5);
            let is_frozen = !factors.is_empty() && found > 0.0 && f64::abs(found / wanted - 1.0) > TOLERANCE;
            frozen.extend(is_frozen.then_some(FrozenScale {
                factors,
                found,
                wanted,
                pixels_per_token: stage.pixels_per_token,
            }));
        }
    }
    frozen
}

impl FrozenScale {
    /// The size of the image that the scale is right for, if it is square.
    pub(super) fn frozen_at(&self) -> Option<ImageSize> {
        let side = self.found.recip();
        let tokens = side.round();
        let is_whole = (side - tokens).abs() < TOLERANCE * side;
        let pixels = (tokens as u64).checked_mul(self.pixels_per_token)?;
        let pixels = u32::try_from(pixels).ok().filter(|_| is_whole)?;
        Some(ImageSize::new(pixels, pixels))
    }

    /// Replaces the factors so that their product is `wanted`.
    pub(super) fn apply(self, graph: &mut GraphProto) {
        let share = (self.wanted / self.found).powf((self.factors.len() as f64).recip());
        self.factors
            .into_iter()
            .for_each(|factor| factor.multiply(share, graph));
    }
}

impl Factor {
    fn value(&self) -> f64 {
        match self.operand {
            Operand::Divisor => self.scalar.value.recip(),
            Operand::Multiplier(_) | Operand::Attribute(_) => self.scalar.value,
        }
    }

    /// Makes the factor `share` times as large. Its constant stays for others that use it.
    fn multiply(self, share: f64, graph: &mut GraphProto) {
        let (input, value) = match self.operand {
            Operand::Multiplier(input) => (input, self.scalar.value * share),
            Operand::Divisor => (1, self.scalar.value / share),
            Operand::Attribute(name) => {
                let attributes = graph.node.get_mut(self.node).map(|node| &mut node.attribute);
                let mut attributes = attributes.into_iter().flatten();
                if let Some(attribute) = attributes.find(|attribute| attribute.name == name) {
                    attribute.f = Some((self.scalar.value * share) as f32);
                }
                return;
            }
        };
        let scalar = Scalar { value, ..self.scalar };
        if let (Some(tensor), Some(node)) = (scalar.tensor(), graph.node.get_mut(self.node))
            && let Some(operand) = node.input.get_mut(input)
        {
            let name = format!(
                "florence2.repair.{}.{input}",
                node.output.first().map_or("", String::as_str)
            );
            operand.clone_from(&name);
            // Of an earlier repair for another size, or of the same constant on query and key.
            graph.initializer.retain(|tensor| tensor.name != name);
            graph.initializer.push(TensorProto { name, ..tensor });
        }
    }
}

const ALPHA: &str = "alpha";
const SCALE: &str = "scale";

/// The stage of the vision encoder that a node belongs to.
struct Stage {
    /// Tokens along each axis; `None` if the graph does not say.
    grid: Option<[u64; 2]>,
    pixels_per_token: u64,
    /// Whether there was a patch embedding.
    is_entered: bool,
}

impl Stage {
    fn of(size: ImageSize) -> Self {
        Self {
            grid: Some([size.height.into(), size.width.into()]),
            pixels_per_token: 1,
            is_entered: false,
        }
    }

    /// Goes through a convolution. Those that embed patches begin a stage; the depthwise ones keep the grid.
    fn enter(&mut self, node: &NodeProto, values: &Values<'_>) {
        let group = attribute(node, "group").and_then(|group| group.i).unwrap_or(1);
        if group != 1 {
            return;
        }
        self.is_entered = true;
        self.grid = self.grid.and_then(|grid| output_grid(node, values, grid));
        let stride = integers(node, "strides").first().copied().unwrap_or(1);
        let stride = u64::try_from(stride).unwrap_or(1);
        self.pixels_per_token = self.pixels_per_token.saturating_mul(stride);
    }

    fn tokens(&self) -> Option<u64> {
        let [height, width] = self.grid.filter(|_| self.is_entered)?;
        height.checked_mul(width).filter(|&tokens| tokens > 0)
    }
}

/// The size that a convolution makes of `grid`; `None` if it does not say.
fn output_grid(node: &NodeProto, values: &Values<'_>, grid: [u64; 2]) -> Option<[u64; 2]> {
    let kernel = match integers(node, "kernel_shape") {
        [] => values.tensor(node.input.get(1)?)?.dims.get(2..)?,
        kernel => kernel,
    };
    let (strides, pads) = (integers(node, "strides"), integers(node, "pads"));
    let side = |axis: usize| {
        let pad = |index: usize| pads.get(index).copied().unwrap_or(0);
        let padded = i64::try_from(grid[axis])
            .ok()?
            .checked_add(pad(axis))?
            .checked_add(pad(axis + 2))?;
        let steps = padded
            .checked_sub(*kernel.get(axis)?)?
            .checked_div(*strides.get(axis).unwrap_or(&1))?;
        u64::try_from(steps.checked_add(1)?).ok()
    };
    Some([side(0)?, side(1)?])
}

/// The scores of an attention: the product of query and key, times constants.
struct Scores<'v> {
    values: &'v Values<'v>,
    factors: Vec<Factor>,
    /// The values that are multiplied, each with the axis that is summed over, counted from the last one.
    operands: [(&'v str, usize); 2],
}

impl<'v> Scores<'v> {
    /// The scores of a `Softmax` or an `Attention`; `None` for other nodes, and if they are not a product times constants.
    fn of(index: usize, node: &'v NodeProto, values: &'v Values<'v>) -> Option<Self> {
        let mut factors = Vec::new();
        match node.op_type.as_str() {
            "Softmax" => {}
            // Query and key are `[batch, heads, length, features]`. Without `scale`, the operator computes it.
            "Attention" if node.domain.is_empty() => {
                factors.extend(attribute_factor(index, node, SCALE));
                return Some(Self {
                    values,
                    factors,
                    operands: [(node.input.first()?, 0), (node.input.get(1)?, 0)],
                });
            }
            _ => return None,
        }
        let mut value = node.input.first()?.as_str();
        for _ in 0..MAX_NODES {
            let (index, node) = values.producer(value)?;
            if node.op_type != "MatMul" && node.op_type != "FusedMatMul" {
                value = step(index, node, values, &mut factors)?;
                continue;
            }
            factors.extend(attribute_factor(index, node, ALPHA));
            let is_set = |name| attribute(node, name).is_some_and(|flag| flag.i == Some(1));
            let first = (node.input.first()?.as_str(), usize::from(is_set("transA")));
            let second = (node.input.get(1)?.as_str(), usize::from(!is_set("transB")));
            return Some(Self {
                values,
                factors,
                operands: [first, second],
            });
        }
        None
    }

    /// The constant factors, if this is an attention among channels and all factors are constant.
    fn channel_factors(mut self) -> Option<Vec<Factor>> {
        for (operand, axis) in self.operands {
            let axis = self.axis_of_heads(operand, axis)?;
            if axis == 0 {
                return None;
            }
        }
        Some(self.factors)
    }

    /// Follows an operand to the `Reshape` that splits its projection into heads, and returns which of that one's axes,
    /// counted from the last one, has become `axis`. Collects the factors on the way.
    fn axis_of_heads(&mut self, operand: &'v str, mut axis: usize) -> Option<usize> {
        let mut value = operand;
        for _ in 0..MAX_NODES {
            let (index, node) = self.values.producer(value)?;
            value = match node.op_type.as_str() {
                "Reshape" => return Some(axis),
                "Transpose" => {
                    let order = integers(node, "perm");
                    let from = order.len().checked_sub(axis + 1)?;
                    let to = usize::try_from(*order.get(from)?).ok()?;
                    axis = order.len().checked_sub(to + 1)?;
                    node.input.first()?
                }
                "Split" | "Slice" => node.input.first()?,
                "Gather" | "Squeeze" => {
                    // Both take one axis away: `Gather` by a scalar index, `Squeeze` after a `Split`.
                    let removed = self.removed_axis(node)?;
                    let rank = self.rank(node.input.first()?, MAX_NODES)?;
                    axis += usize::from(rank.checked_sub(removed + 1)? <= axis);
                    node.input.first()?
                }
                _ => step(index, node, self.values, &mut self.factors)?,
            };
        }
        None
    }

    /// The axis that a `Gather` or `Squeeze` takes away.
    fn removed_axis(&self, node: &NodeProto) -> Option<usize> {
        let rank = || i64::try_from(self.rank(node.input.first()?, MAX_NODES)?).ok();
        let axis = if node.op_type == "Gather" {
            attribute(node, "axis").map_or(Some(0), |axis| axis.i)?
        } else {
            match integers(node, "axes") {
                [axis] => *axis,
                _ => single_integer(self.values.tensor(node.input.get(1)?)?)?,
            }
        };
        usize::try_from(if axis < 0 { axis + rank()? } else { axis }).ok()
    }

    /// Returns the number of a value's axes, from the `Reshape` or `Transpose` that makes it.
    fn rank(&self, value: &str, depth: usize) -> Option<usize> {
        let (_, node) = self.values.producer(value)?;
        let depth = depth.checked_sub(1)?;
        let of_input = || self.rank(node.input.first()?, depth);
        match node.op_type.as_str() {
            "Transpose" => Some(integers(node, "perm").len()),
            "Reshape" => {
                let shape = node.input.get(1)?;
                match self.values.tensor(shape) {
                    Some(shape) => usize::try_from(*shape.dims.first()?).ok(),
                    None => {
                        let (_, shape) = self.values.producer(shape)?;
                        (shape.op_type == "Concat").then_some(shape.input.len())
                    }
                }
            }
            "Gather" | "Squeeze" => of_input()?.checked_sub(1),
            "Split" | "Slice" | "Mul" | "Div" | "Cast" | "Identity" => of_input(),
            _ => None,
        }
    }
}

/// The factor that an attribute of a node is.
fn attribute_factor(index: usize, node: &NodeProto, name: &'static str) -> Option<Factor> {
    let value = attribute(node, name)?.f.filter(|&value| value != 1.0)?;
    Some(Factor {
        node: index,
        operand: Operand::Attribute(name),
        scalar: Scalar {
            value: value.into(),
            data_type: DataType::Float as i32,
        },
    })
}

/// The input of a node that only scales or converts it, with the factor, if it is constant.
fn step<'v>(
    index: usize,
    node: &'v NodeProto,
    values: &Values<'_>,
    factors: &mut Vec<Factor>,
) -> Option<&'v str> {
    let mut factor = |operand, scalar| {
        factors.push(Factor {
            node: index,
            operand,
            scalar,
        })
    };
    let inputs: Vec<&'v str> = node.input.iter().map(String::as_str).collect();
    match (node.op_type.as_str(), inputs.as_slice()) {
        ("Cast" | "Identity", [value]) => Some(value),
        ("Mul", [first, second]) => match (values.scalar(first), values.scalar(second)) {
            (None, Some(scalar)) => {
                factor(Operand::Multiplier(1), scalar);
                Some(first)
            }
            (Some(scalar), None) => {
                factor(Operand::Multiplier(0), scalar);
                Some(second)
            }
            _ => None,
        },
        ("Div", [value, divisor]) => {
            factor(Operand::Divisor, values.scalar(divisor)?);
            Some(value)
        }
        _ => None,
    }
}

/// The value of a tensor of one 64-bit integer.
fn single_integer(tensor: &TensorProto) -> Option<i64> {
    match &tensor.raw_data {
        Some(raw) => Some(i64::from_le_bytes(raw.as_ref().try_into().ok()?)),
        None => match tensor.int64_data[..] {
            [value] => Some(value),
            _ => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use florence2_layout::onnx::AttributeProto;

    use super::*;

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
        let among_tokens = super::tests::graph(vec![attention(["query", "key"])], vec![]);
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
}
