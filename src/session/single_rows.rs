//! Graphs of a fixed batch size of 1, such as exports for NPUs: rows are run one after another.

use std::collections::BTreeMap;

use florence2_layout::graphs::USE_CACHE_BRANCH;
use ort::session::SessionInputValue;
use ort::value::DynValue;

use super::tensor;
use crate::error::{Error, Result};
use crate::runtime::GraphSignature;

/// Returns whether the graph takes one row at a time.
///
/// # Errors
/// [`Error::InvalidGraph`] if it takes another fixed number of rows.
pub(super) fn takes_single_rows(signature: &GraphSignature) -> Result<bool> {
    let inputs = signature.inputs.iter();
    let batched = inputs.filter(|spec| spec.name != USE_CACHE_BRANCH);
    let sizes: Vec<usize> = batched.filter_map(|spec| spec.fixed(0)).collect();
    match sizes.iter().find(|&&size| size != 1) {
        Some(size) => Err(Error::InvalidGraph {
            graph: signature.graph.clone(),
            reason: format!("it takes batches of {size} only; export it with a free batch size, or with 1"),
        }),
        None => Ok(!sizes.is_empty()),
    }
}

/// Returns the inputs of each row's run; none if there is one row only.
pub(super) fn split<'n>(
    inputs: &[(&'n str, SessionInputValue<'_>)],
) -> Result<Vec<Vec<(&'n str, SessionInputValue<'static>)>>> {
    let batched = inputs.iter().filter(|(name, _)| *name != USE_CACHE_BRANCH);
    let rows = batched.filter_map(|(_, value)| tensor::shape(value).first().copied());
    let of_row = |row: usize| {
        let own = inputs.iter().map(|(name, value)| {
            let row = if *name == USE_CACHE_BRANCH { 0 } else { row };
            Ok((*name, tensor::gather_rows(value, &[row])?.into()))
        });
        own.collect()
    };
    match rows.max() {
        None | Some(..=1) => Ok(Vec::new()),
        Some(rows) => (0..rows).map(of_row).collect(),
    }
}

/// Joins the outputs of each row's run.
pub(super) fn join(rows: Vec<BTreeMap<String, DynValue>>) -> Result<BTreeMap<String, DynValue>> {
    let mut outputs: BTreeMap<String, Vec<DynValue>> = BTreeMap::new();
    for (name, value) in rows.into_iter().flatten() {
        outputs.entry(name).or_default().push(value);
    }
    let joined = outputs.into_iter();
    joined
        .map(|(name, rows)| Ok((name, tensor::join_rows(&rows)?)))
        .collect()
}
