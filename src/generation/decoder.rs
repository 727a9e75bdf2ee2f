//! What a search needs of a decoder.

use ndarray::ArrayView2;

use crate::error::Result;

/// One decoding in progress: a batch of rows, each a partial sequence with its caches.
///
/// A row is one sequence of one input (a beam, or the only sequence of a greedy search). The cross-attention
/// caches belong to the input and are constant; the self-attention caches belong to the rows. A fresh decoder
/// has one row per input.
pub trait Decoder {
    /// Rows at present.
    fn rows(&self) -> usize;

    /// Appends the same number of tokens to every row (`tokens`: `[rows, n]`, n ≥ 1) and gives the logits that
    /// follow the last of them: `[rows, vocabulary]`, valid until the next call.
    ///
    /// # Errors
    /// What the runtime reports.
    fn step(&mut self, tokens: ArrayView2<'_, u32>) -> Result<ArrayView2<'_, f32>>;

    /// Makes row `i` a continuation of what was row `parents[i]`, for all `i`. The number of rows may change:
    /// a row taken several times is expanded into beams, one not taken has left.
    ///
    /// # Errors
    /// What the runtime reports. Every parent must be one of the present rows.
    fn reorder(&mut self, parents: &[usize]) -> Result<()>;
}
