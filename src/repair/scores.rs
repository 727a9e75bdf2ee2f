//! The scores of an attention, followed back to its projections.

use florence2_layout::onnx::{NodeProto, TensorProto};

use super::constants::{Values, attribute, integers};
use super::factor::{ALPHA, Factor, Operand, SCALE};

/// The largest number of nodes between an attention's `Softmax` and its projections.
const MAX_NODES: usize = 32;

/// The scores of an attention: the product of query and key, times constants.
pub(super) struct Scores<'v> {
    values: &'v Values<'v>,
    factors: Vec<Factor>,
    /// The operands of the product, each with the axis that is summed over, counted from the last one.
    operands: [(&'v str, usize); 2],
}

impl<'v> Scores<'v> {
    /// Returns the scores of a `Softmax` or an `Attention`; `None` for other nodes, and if they are not a product times
    /// constants.
    pub(super) fn of(index: usize, node: &'v NodeProto, values: &'v Values<'v>) -> Option<Self> {
        let mut factors = Vec::new();
        match node.op_type.as_str() {
            "Softmax" => {}
            // Query and key are `[batch, heads, length, features]`. Without `scale`, the operator computes it.
            "Attention" if node.domain.is_empty() => {
                factors.extend(Factor::of_attribute(index, node, SCALE));
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
            factors.extend(Factor::of_attribute(index, node, ALPHA));
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

    /// Returns the constant factors, if this is an attention among channels and all factors are constant.
    pub(super) fn channel_factors(mut self) -> Option<Vec<Factor>> {
        for (operand, axis) in self.operands {
            let axis = self.axis_of_heads(operand, axis)?;
            if axis == 0 {
                return None;
            }
        }
        Some(self.factors)
    }

    /// Follows an operand to the `Reshape` that splits its projection into heads, and returns the axis of the `Reshape`,
    /// counted from the last one, that has become `axis`. Collects the factors on the way.
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
                    // Both remove one axis: `Gather` by a scalar index, `Squeeze` after a `Split`.
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

    /// Returns the axis that a `Gather` or `Squeeze` removes.
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

/// Returns the input of a node that only scales or converts it, and collects the factor, if it is constant.
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

/// Returns the value of a tensor of one 64-bit integer.
fn single_integer(tensor: &TensorProto) -> Option<i64> {
    match &tensor.raw_data {
        Some(raw) => Some(i64::from_le_bytes(raw.as_ref().try_into().ok()?)),
        None => match tensor.int64_data[..] {
            [value] => Some(value),
            _ => None,
        },
    }
}
