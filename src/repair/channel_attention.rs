//! Channel attentions whose scale is frozen at another image size than the model's.
//!
//! An attention is found by its `Softmax` and the product of query and key before it. It is one among channels if the
//! product sums over tokens: if the axis that it sums over is not the last one, a head's features, of the `Reshape` that
//! splits the projection into heads. Its scale is the product of all constant factors on query, key and scores; a factor
//! that is computed from the input's shape is right at every size, and its attention is left alone.

use florence2_layout::onnx::{GraphProto, NodeProto, TensorProto};

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
    place: Place,
    scalar: Scalar,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Place {
    /// This input of a `Mul`.
    Multiplier(usize),
    /// The second input of a `Div`.
    Divisor,
    /// The attribute of a `FusedMatMul`.
    Alpha,
}

/// The scales in a vision encoder that are frozen at another image size than `size`, in the graph's order.
pub(super) fn frozen_scales(graph: &GraphProto, size: ImageSize) -> Vec<FrozenScale> {
    let values = Values::of(graph);
    let mut stage = Stage::of(size);
    let mut frozen = Vec::new();
    for node in &graph.node {
        if node.op_type.contains("Conv") {
            stage.enter(node, &values);
        } else if node.op_type == "Softmax"
            && let Some(factors) = Scores::of(node, &values).and_then(Scores::channel_factors)
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

    /// Puts in the right scale, shared among the factors there are.
    pub(super) fn apply(self, graph: &mut GraphProto) {
        let share = (self.wanted / self.found).powf((self.factors.len() as f64).recip());
        self.factors
            .into_iter()
            .for_each(|factor| factor.multiply(share, graph));
    }
}

impl Factor {
    fn value(&self) -> f64 {
        match self.place {
            Place::Divisor => self.scalar.value.recip(),
            Place::Multiplier(_) | Place::Alpha => self.scalar.value,
        }
    }

    /// Makes the factor `share` times as large. Its constant stays for others that use it.
    fn multiply(self, share: f64, graph: &mut GraphProto) {
        let (input, value) = match self.place {
            Place::Multiplier(input) => (input, self.scalar.value * share),
            Place::Divisor => (1, self.scalar.value / share),
            Place::Alpha => {
                let attributes = graph.node.get_mut(self.node).map(|node| &mut node.attribute);
                let alpha = attributes
                    .into_iter()
                    .flatten()
                    .find(|attribute| attribute.name == ALPHA);
                if let Some(alpha) = alpha {
                    alpha.f = Some((self.scalar.value * share) as f32);
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
            graph.initializer.push(TensorProto { name, ..tensor });
        }
    }
}

const ALPHA: &str = "alpha";

/// The stage of the vision encoder that the graph's nodes have come to.
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

/// The scores of an attention: how they come from query and key.
struct Scores<'v> {
    values: &'v Values<'v>,
    factors: Vec<Factor>,
    /// The values that are multiplied, each with the axis that is summed over, counted from the last one.
    operands: [(&'v str, usize); 2],
}

impl<'v> Scores<'v> {
    /// The scores that `softmax` is of; `None` if they are not a product times constants.
    fn of(softmax: &'v NodeProto, values: &'v Values<'v>) -> Option<Self> {
        let mut factors = Vec::new();
        let mut value = softmax.input.first()?.as_str();
        for _ in 0..MAX_NODES {
            let (index, node) = values.producer(value)?;
            value = match node.op_type.as_str() {
                "MatMul" | "FusedMatMul" => {
                    if let Some(alpha) = attribute(node, ALPHA)
                        .and_then(|alpha| alpha.f)
                        .filter(|&alpha| alpha != 1.0)
                    {
                        factors.push(Factor {
                            node: index,
                            place: Place::Alpha,
                            scalar: Scalar {
                                value: alpha.into(),
                                data_type: 0,
                            },
                        });
                    }
                    let is_set = |name| attribute(node, name).is_some_and(|flag| flag.i == Some(1));
                    let first = (node.input.first()?.as_str(), usize::from(is_set("transA")));
                    let second = (node.input.get(1)?.as_str(), usize::from(!is_set("transB")));
                    return Some(Self {
                        values,
                        factors,
                        operands: [first, second],
                    });
                }
                _ => step(index, node, values, &mut factors)?,
            };
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

    /// The number of a value's axes, as far as its `Reshape` or `Transpose` tells.
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

/// The input of a node that only scales or converts it, with the factor, if it is constant.
fn step<'v>(
    index: usize,
    node: &'v NodeProto,
    values: &Values<'_>,
    factors: &mut Vec<Factor>,
) -> Option<&'v str> {
    let mut factor = |place, scalar| {
        factors.push(Factor {
            node: index,
            place,
            scalar,
        })
    };
    let inputs: Vec<&'v str> = node.input.iter().map(String::as_str).collect();
    match (node.op_type.as_str(), inputs.as_slice()) {
        ("Cast" | "Identity", [value]) => Some(value),
        ("Mul", [first, second]) => match (values.scalar(first), values.scalar(second)) {
            (None, Some(scalar)) => {
                factor(Place::Multiplier(1), scalar);
                Some(first)
            }
            (Some(scalar), None) => {
                factor(Place::Multiplier(0), scalar);
                Some(second)
            }
            _ => None,
        },
        ("Div", [value, divisor]) => {
            factor(Place::Divisor, values.scalar(divisor)?);
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
