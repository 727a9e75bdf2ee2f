//! Text graphs whose token positions were frozen at the length that they were traced with. No repair is known: they are
//! refused.

use florence2_layout::onnx::{GraphProto, NodeProto};

use super::constants::{Values, attribute};
use crate::error::{Error, Result};
use crate::runtime::CheckedGraph;

/// The largest number of nodes between the embeddings and the sum with the positions.
const MAX_NODES: usize = 8;

/// Checks that the positions of tokens depend on the graph's inputs: that the rows of the position table are not looked up
/// by constants, and that no rows looked up at export are added to the embeddings, the graph's input `embeds`.
///
/// # Errors
/// [`Error::InvalidGraph`] if they do not.
pub(crate) fn check_positions(graph: &CheckedGraph, name: &str, embeds: &str) -> Result<()> {
    let graph = graph.model().and_then(|model| model.graph.as_ref());
    match graph.and_then(|graph| frozen_node(graph, &Values::of(graph), embeds)) {
        Some(node) => Err(Error::InvalidGraph {
            graph: name.into(),
            reason: format!(
                "the positions of its tokens are constants (node {node:?}), frozen at the length that it was traced with; \
                 its answers would be wrong. Export the checkpoint again"
            ),
        }),
        None => Ok(()),
    }
}

/// The name of the first node, in the graph or a branch of it, that uses frozen positions.
fn frozen_node<'g>(graph: &'g GraphProto, values: &Values<'g>, embeds: &str) -> Option<&'g str> {
    graph.node.iter().find_map(|node| {
        if is_frozen_lookup(node, values) || adds_rows(node, values, embeds) {
            return Some(node.name.as_str());
        }
        let mut branches = node.attribute.iter().filter_map(|attribute| attribute.g.as_ref());
        branches.find_map(|branch| frozen_node(branch, &Values::of_branch(branch, values), embeds))
    })
}

/// Whether rows of a constant table are looked up by constant indices.
fn is_frozen_lookup<'g>(node: &'g NodeProto, values: &Values<'g>) -> bool {
    let [table, indices] = node.input.as_slice() else {
        return false;
    };
    let along_rows = attribute(node, "axis").is_none_or(|axis| axis.i == Some(0));
    let is_table = values.tensor(table).is_some_and(|table| table.dims.len() == 2);
    node.op_type == "Gather" && along_rows && is_table && values.is_constant(indices)
}

/// Whether constant rows are added to the embeddings that the graph is given: positions that were looked up at export.
fn adds_rows(node: &NodeProto, values: &Values<'_>, embeds: &str) -> bool {
    let [first, second] = node.input.as_slice() else {
        return false;
    };
    let is_rows = |value: &str| values.tensor(value).is_some_and(|tensor| tensor.dims.len() >= 2);
    node.op_type == "Add"
        && (is_rows(first) && are_embeddings(second, values, embeds)
            || is_rows(second) && are_embeddings(first, values, embeds))
}

/// Whether a value is the graph's embeddings, scaled or converted at most.
fn are_embeddings(value: &str, values: &Values<'_>, embeds: &str) -> bool {
    let mut value = value;
    for _ in 0..MAX_NODES {
        if value == embeds {
            return true;
        }
        let Some((_, node)) = values.producer(value) else {
            return false;
        };
        value = match (node.op_type.as_str(), node.input.as_slice()) {
            ("Identity" | "Cast", [input]) => input,
            ("Mul", [first, second]) if values.scalar(second).is_some() => first,
            ("Mul", [first, second]) if values.scalar(first).is_some() => second,
            _ => return false,
        };
    }
    false
}
