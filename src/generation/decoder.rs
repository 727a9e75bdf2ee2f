//! What a search needs of a decoder.

use super::logits::Logits;
use crate::error::Result;

/// One decoding in progress: a batch of rows, each a partial sequence with its caches.
///
/// A row is one sequence of one input (a beam, or the only sequence of a greedy search). The cross-attention
/// caches belong to the input and are constant; the self-attention caches belong to the rows. A fresh decoder has no
/// rows: its inputs wait to [`join`](Self::join). The rows of an input stand together, and an input whose rows are all
/// gone has left.
pub trait Decoder {
    /// The inputs that this decoding is of, in all.
    fn inputs(&self) -> usize;

    /// Lets in one or more of the inputs that wait, in their order: behind the present rows, each gets one row, which
    /// is fed `prompt` (one token or more). Gives the logits that follow its last token, for the new rows only, valid
    /// until the next call; `None` if there is no room now, or none waits.
    ///
    /// # Errors
    /// What the runtime reports.
    fn join(&mut self, prompt: &[u32]) -> Result<Option<Logits<'_>>>;

    /// Rows at present.
    fn rows(&self) -> usize;

    /// Appends a token to each row (`tokens`: `[rows]`) and gives the logits that follow them, valid until the next
    /// call.
    ///
    /// # Errors
    /// What the runtime reports.
    fn step(&mut self, tokens: &[u32]) -> Result<Logits<'_>>;

    /// Makes row `i` a continuation of what was row `parents[i]`, for all `i`. The number of rows may change:
    /// a row taken several times is expanded into beams, one not taken has left.
    ///
    /// # Errors
    /// What the runtime reports. Every parent must be one of the present rows.
    fn reorder(&mut self, parents: &[usize]) -> Result<()>;
}
