//! Constant factors of an attention's scores.

use florence2_layout::onnx::{DataType, GraphProto, NodeProto, TensorProto};

use super::constants::{Scalar, attribute};

/// The factor of a `FusedMatMul`.
pub(super) const ALPHA: &str = "alpha";
/// The factor of an `Attention`.
pub(super) const SCALE: &str = "scale";

/// A constant factor of the scores.
#[derive(Debug, Clone, Copy)]
pub(super) struct Factor {
    pub(super) node: usize,
    pub(super) operand: Operand,
    pub(super) scalar: Scalar,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Operand {
    /// This input of a `Mul`.
    Multiplier(usize),
    /// The second input of a `Div`.
    Divisor,
    /// An attribute: `alpha` of a `FusedMatMul`, `scale` of an `Attention`.
    Attribute(&'static str),
}

impl Factor {
    /// Returns the factor in an attribute of a node, if it is set and not 1.
    pub(super) fn of_attribute(index: usize, node: &NodeProto, name: &'static str) -> Option<Self> {
        let value = attribute(node, name)?.f.filter(|&value| value != 1.0)?;
        Some(Self {
            node: index,
            operand: Operand::Attribute(name),
            scalar: Scalar {
                value: value.into(),
                data_type: DataType::Float as i32,
            },
        })
    }

    pub(super) fn value(&self) -> f64 {
        match self.operand {
            Operand::Divisor => self.scalar.value.recip(),
            Operand::Multiplier(_) | Operand::Attribute(_) => self.scalar.value,
        }
    }

    /// Multiplies the factor by `share`. Other nodes that use its constant keep it.
    pub(super) fn multiply(self, share: f64, graph: &mut GraphProto) {
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
            // The name is taken by an earlier repair for another size, or by the same constant on query and key.
            graph.initializer.retain(|tensor| tensor.name != name);
            graph.initializer.push(TensorProto { name, ..tensor });
        }
    }
}
