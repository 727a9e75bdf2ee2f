//! Text graphs whose token positions were frozen at the length that they were traced with. No repair is known: they are
//! refused.

use florence2_layout::graphs::INPUTS_EMBEDS;
use florence2_layout::onnx::{DimensionValue, GraphProto, NodeProto};

use super::constants::{Values, attribute};
use crate::bundle::{GraphBytes, ModelFile};
use crate::error::{Error, Result};

/// Checks that the positions of tokens depend on the graph's inputs: that the rows of the position table are not looked up
/// by constants, and none are added that were looked up at export.
///
/// # Errors
/// [`Error::InvalidGraph`] if they do not.
pub(crate) fn check_positions(graph: &GraphBytes, name: &str) -> Result<()> {
    let file = ModelFile::read(graph);
    let graph = file.as_ref().and_then(|file| file.model.graph.as_ref());
    let d_model = graph.and_then(d_model);
    match graph.and_then(|graph| frozen_node(graph, d_model)) {
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

/// The size of the embeddings, if the graph fixes it.
fn d_model(graph: &GraphProto) -> Option<i64> {
    let input = graph.input.iter().find(|input| input.name == INPUTS_EMBEDS)?;
    let tensor = input.r#type.as_ref()?.tensor_type.as_ref()?;
    match tensor.shape.as_ref()?.dim.last()?.value {
        Some(DimensionValue::Size(size)) => Some(size),
        _ => None,
    }
}

/// The name of the first node, in the graph or a branch of it, that uses frozen positions.
fn frozen_node(graph: &GraphProto, d_model: Option<i64>) -> Option<&str> {
    let values = Values::of(graph);
    graph.node.iter().find_map(|node| {
        if is_frozen_lookup(node, &values) || d_model.is_some_and(|size| adds_rows(node, &values, size)) {
            return Some(node.name.as_str());
        }
        let branches = node.attribute.iter().filter_map(|attribute| attribute.g.as_ref());
        branches
            .into_iter()
            .find_map(|branch| frozen_node(branch, d_model))
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

/// Whether constant rows of embeddings are added: positions that were looked up at export.
fn adds_rows(node: &NodeProto, values: &Values<'_>, d_model: i64) -> bool {
    let is_rows = |value: &String| {
        let tensor = values.tensor(value);
        tensor.is_some_and(|tensor| tensor.dims.len() >= 2 && tensor.dims.last() == Some(&d_model))
    };
    node.op_type == "Add" && node.input.iter().any(is_rows)
}
