//! The decoder, as searches see it.

use super::logits::Logits;
use crate::error::Result;

/// A decoding in progress: rows, each a partial sequence with its KV cache.
///
/// A row is one sequence of one input: a beam, or the only sequence of a greedy search. Cross-attention caches belong to the
/// input and are constant; self-attention caches belong to the rows. A fresh decoder has no rows: its inputs wait to be
/// [admitted](Self::admit). The rows of an input are adjacent, and an input without rows is retired.
pub trait Decoder {
    /// Returns the number of inputs: waiting, running and retired.
    fn inputs(&self) -> usize;

    /// Admits one or more waiting inputs, in their order: each gets one row, after the existing rows, which is fed
    /// `prompt` (one token or more). Returns the logits after the prompt's last token, of the new rows only, valid
    /// until the next call; `None` if there is no capacity now, or no input waits.
    ///
    /// # Errors
    /// Errors of ONNX Runtime.
    fn admit(&mut self, prompt: &[u32]) -> Result<Option<Logits<'_>>>;

    /// Returns the number of rows.
    fn rows(&self) -> usize;

    /// Appends a token to each row (`tokens`: `[rows]`). Returns the logits that follow, valid until the next call.
    ///
    /// # Errors
    /// Errors of ONNX Runtime.
    fn step(&mut self, tokens: &[u32]) -> Result<Logits<'_>>;

    /// Reorders the rows: new row `i` continues old row `parents[i]`. The number of rows may change: a row that is
    /// the parent of several becomes several beams, a row that is no parent is dropped. Every parent must be an
    /// existing row.
    ///
    /// # Errors
    /// Errors of ONNX Runtime.
    fn reorder(&mut self, parents: &[usize]) -> Result<()>;
}
