//! The decoder, as searches see it.

use super::logits::Logits;
use crate::error::Result;

/// A decoding in progress: rows, each a partial sequence with its KV cache.
///
/// A row is one sequence of one input: a beam, or the only sequence of a greedy search. Cross-attention caches belong to the
/// input and are constant; self-attention caches belong to the rows. A fresh decoder has no rows: its inputs wait to be
/// [admitted](Self::admit). The rows of an input are adjacent, and an input without rows is retired.
pub trait Decoder {
    /// Returns the number of all inputs.
    fn inputs(&self) -> usize;

    /// Admits one or more waiting inputs, in their order: each gets one row, behind the present ones, which is fed `prompt`
    /// (one token or more). Returns the logits that follow its last token, of the new rows only, valid until the next call;
    /// `None` if there is no capacity now, or none waits.
    ///
    /// # Errors
    /// ONNX Runtime's.
    fn admit(&mut self, prompt: &[u32]) -> Result<Option<Logits<'_>>>;

    /// Returns the number of rows.
    fn rows(&self) -> usize;

    /// Appends a token to each row (`tokens`: `[rows]`). Returns the logits that follow, valid until the next call.
    ///
    /// # Errors
    /// ONNX Runtime's.
    fn step(&mut self, tokens: &[u32]) -> Result<Logits<'_>>;

    /// Makes row `i` a continuation of what was row `parents[i]`, for all `i`. The number of rows may change: a row that is
    /// the parent of several becomes several beams, a row that is no parent is dropped. Every parent must be a present row.
    ///
    /// # Errors
    /// ONNX Runtime's.
    fn reorder(&mut self, parents: &[usize]) -> Result<()>;
}
