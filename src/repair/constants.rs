//! The nodes behind a graph's values, and scalars that do not depend on its inputs.

use std::collections::{HashMap, HashSet};

use florence2_layout::onnx::{AttributeProto, DataType, GraphProto, NodeProto, TensorProto};
use half::{bf16, f16};

/// The longest chain of nodes that is followed for one scalar.
const MAX_DEPTH: usize = 8;

/// A graph's values by name.
pub(super) struct Values<'g> {
    nodes: &'g [NodeProto],
    producers: HashMap<&'g str, usize>,
    initializers: HashMap<&'g str, &'g TensorProto>,
}

/// A constant scalar.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Scalar {
    pub(super) value: f64,
    /// `TensorProto.DataType`.
    pub(super) data_type: i32,
}

impl<'g> Values<'g> {
    pub(super) fn of(graph: &'g GraphProto) -> Self {
        let outputs = |(index, node): (usize, &'g NodeProto)| {
            node.output.iter().map(move |output| (output.as_str(), index))
        };
        let initializers = graph.initializer.iter();
        Self {
            nodes: &graph.node,
            producers: graph.node.iter().enumerate().flat_map(outputs).collect(),
            initializers: initializers
                .map(|tensor| (tensor.name.as_str(), tensor))
                .collect(),
        }
    }

    /// Returns the values of a branch of a graph, which include the outer graph's initializers.
    pub(super) fn of_branch(branch: &'g GraphProto, outer: &Self) -> Self {
        let mut values = Self::of(branch);
        let outer = outer.initializers.iter().map(|(&name, &tensor)| (name, tensor));
        let own = std::mem::take(&mut values.initializers);
        values.initializers = outer.chain(own).collect();
        values
    }

    /// Returns the node that computes a value, and the node's index.
    pub(super) fn producer(&self, value: &str) -> Option<(usize, &'g NodeProto)> {
        let &index = self.producers.get(value)?;
        Some((index, self.nodes.get(index)?))
    }

    /// Returns a constant tensor: an initializer, or the value of a `Constant` node.
    pub(super) fn tensor(&self, value: &str) -> Option<&'g TensorProto> {
        if let Some(tensor) = self.initializers.get(value) {
            return Some(tensor);
        }
        let (_, node) = self.producer(value)?;
        let is_constant = node.op_type == "Constant";
        attribute(node, "value").filter(|_| is_constant)?.t.as_ref()
    }

    /// Returns a constant scalar, which may be computed from other constant scalars.
    pub(super) fn scalar(&self, value: &str) -> Option<Scalar> {
        self.scalar_within(value, MAX_DEPTH)
    }

    /// Returns `true` if a value depends on constants only. Values of an outer graph count as inputs.
    pub(super) fn is_constant(&self, value: &'g str) -> bool {
        let (mut waiting, mut seen) = (vec![value], HashSet::new());
        while let Some(value) = waiting.pop() {
            if !seen.insert(value) || self.tensor(value).is_some() {
                continue;
            }
            match self.producer(value) {
                Some((_, node)) if node.op_type == "Constant" || !node.input.is_empty() => {
                    waiting.extend(node.input.iter().map(String::as_str));
                }
                _ => return false,
            }
        }
        true
    }

    fn scalar_within(&self, value: &str, depth: usize) -> Option<Scalar> {
        if let Some(tensor) = self.tensor(value) {
            return scalar_of(tensor);
        }
        let (_, node) = self.producer(value)?;
        let depth = depth.checked_sub(1)?;
        let input = |index: usize| self.scalar_within(node.input.get(index)?, depth);
        let unary = |operator: fn(f64) -> f64| {
            let scalar = input(0)?;
            let value = operator(scalar.value);
            Some(Scalar { value, ..scalar })
        };
        let binary = |operator: fn(f64, f64) -> f64| {
            let scalar = input(0)?;
            let value = operator(scalar.value, input(1)?.value);
            Some(Scalar { value, ..scalar })
        };
        match node.op_type.as_str() {
            "Constant" => Some(Scalar {
                value: f64::from(attribute(node, "value_float")?.f?),
                data_type: DataType::Float as i32,
            }),
            "Cast" => Some(Scalar {
                data_type: i32::try_from(attribute(node, "to")?.i?).ok()?,
                ..input(0)?
            }),
            // A scalar in another shape is the same scalar.
            "Identity" | "Reshape" | "Squeeze" | "Unsqueeze" => input(0),
            "Sqrt" => unary(f64::sqrt),
            "Reciprocal" => unary(f64::recip),
            "Pow" => binary(f64::powf),
            "Mul" => binary(|left, right| left * right),
            "Div" => binary(|left, right| left / right),
            _ => None,
        }
    }
}

/// A node's attribute.
pub(super) fn attribute<'n>(node: &'n NodeProto, name: &str) -> Option<&'n AttributeProto> {
    node.attribute.iter().find(|attribute| attribute.name == name)
}

/// A node's attribute of integers; empty if there is none.
pub(super) fn integers<'n>(node: &'n NodeProto, name: &str) -> &'n [i64] {
    attribute(node, name).map_or(&[], |attribute| &attribute.ints)
}

/// The value of a tensor of one floating-point number.
fn scalar_of(tensor: &TensorProto) -> Option<Scalar> {
    if tensor.dims.iter().any(|&dim| dim != 1) {
        return None;
    }
    let raw = tensor.raw_data.as_deref();
    let half = |bits: fn(u16) -> f64| match raw {
        Some(raw) => Some(bits(u16::from_le_bytes(raw.try_into().ok()?))),
        None => Some(bits(u16::try_from(*tensor.int32_data.first()?).ok()?)),
    };
    let is = |data_type: DataType| tensor.data_type == data_type as i32;
    let value = if is(DataType::Float) {
        f64::from(match raw {
            Some(raw) => f32::from_le_bytes(raw.try_into().ok()?),
            None => *tensor.float_data.first()?,
        })
    } else if is(DataType::Double) {
        match raw {
            Some(raw) => f64::from_le_bytes(raw.try_into().ok()?),
            None => *tensor.double_data.first()?,
        }
    } else if is(DataType::Float16) {
        half(|bits| f16::from_bits(bits).to_f64())?
    } else if is(DataType::BFloat16) {
        half(|bits| bf16::from_bits(bits).to_f64())?
    } else {
        return None;
    };
    Some(Scalar {
        value,
        data_type: tensor.data_type,
    })
}

impl Scalar {
    /// A tensor of this value; `None` for a type that is no floating-point one.
    pub(super) fn tensor(self) -> Option<TensorProto> {
        let is = |data_type: DataType| self.data_type == data_type as i32;
        let raw_data = if is(DataType::Float) {
            (self.value as f32).to_le_bytes().to_vec()
        } else if is(DataType::Double) {
            self.value.to_le_bytes().to_vec()
        } else if is(DataType::Float16) {
            f16::from_f64(self.value).to_le_bytes().to_vec()
        } else if is(DataType::BFloat16) {
            bf16::from_f64(self.value).to_le_bytes().to_vec()
        } else {
            return None;
        };
        Some(TensorProto {
            data_type: self.data_type,
            raw_data: Some(raw_data.into()),
            ..TensorProto::default()
        })
    }
}
