//! Parallel work on the session's threads.

use std::sync::{Mutex, PoisonError};

use ort::operator::ComputeContext;

/// Calls `work` once for each item, on all threads of the session. Items may have mutable parts of one buffer.
///
/// # Errors
/// Errors of ONNX Runtime.
pub(super) fn for_each<T: Send>(
    context: &ComputeContext,
    items: impl IntoIterator<Item = T>,
    work: impl Fn(T) + Send + Sync,
) -> ort::Result<()> {
    let items: Vec<Mutex<Option<T>>> = items.into_iter().map(|item| Mutex::new(Some(item))).collect();
    // One batch per item: threads that finish early take more of them.
    context.par_for(items.len(), items.len(), |index| {
        let item = items.get(index);
        let item = item.and_then(|item| item.lock().unwrap_or_else(PoisonError::into_inner).take());
        item.into_iter().for_each(&work);
    })
}
