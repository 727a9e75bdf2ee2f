//! The top-k logits of a step, selected where the decoder runs, and when they suffice.

use ndarray::ArrayView2;

use super::math::LogSumExp;
use crate::error::Result;

/// Logits of which the top k were selected where the decoder runs, such as in a device's memory.
pub trait TopKLogits: std::fmt::Debug {
    /// Returns the number of rows.
    fn rows(&self) -> usize;

    /// Returns the number of logits of each row.
    fn vocabulary(&self) -> usize;

    /// Returns the top k of a row; `None` if there is no such row.
    fn row(&self, row: usize) -> Option<TopKRow<'_>>;

    /// Returns all logits, `[rows, vocabulary]`, after copying them to the CPU's memory.
    ///
    /// # Errors
    /// Errors of ONNX Runtime.
    fn all(&self) -> Result<ArrayView2<'_, f32>>;
}

/// The top-k logits of a row: no other logit is higher than the last of them.
#[derive(Debug, Clone, Copy)]
pub struct TopKRow<'a> {
    /// The tokens of the logits. Among equal logits, lower tokens are selected first, and come first.
    pub tokens: &'a [i64],
    /// The highest logits of the row, in descending order.
    pub logits: &'a [f32],
    /// `ln Σ exp(x - max)` over all logits of the row.
    pub log_sum_exp: f32,
}

impl TopKRow<'_> {
    /// Returns the row's `ln Σ exp(x)`; `None` if logits are NaN or ∞, or all are -∞.
    pub(super) fn log_sum_exp(&self) -> Option<LogSumExp> {
        let max = *self.logits.first()?;
        (max.is_finite() && self.log_sum_exp.is_finite()).then(|| LogSumExp::new(max, self.log_sum_exp))
    }

    /// Fills `scores`, `[vocabulary]`, with `score` of each top-k logit, and `other` for the other tokens.
    pub(super) fn fill(
        &self,
        scores: &mut Vec<f32>,
        vocabulary: usize,
        other: f32,
        score: impl Fn(f32) -> f32,
    ) {
        scores.clear();
        scores.resize(vocabulary, other);
        for (&token, &logit) in self.tokens.iter().zip(self.logits) {
            let entry = usize::try_from(token)
                .ok()
                .and_then(|token| scores.get_mut(token));
            if let Some(entry) = entry {
                *entry = score(logit);
            }
        }
    }

    /// Returns whether at least `wanted` of the top-k tokens have a score above `floor`, or all tokens were selected.
    /// A token that was not selected scores at most `floor`; among equal scores, the lower token id would come first.
    pub(super) fn suffices(&self, scores: &[f32], wanted: usize, floor: f32, bonus: f32) -> bool {
        let is_above = |&&token: &&i64| {
            let score = usize::try_from(token).ok().and_then(|token| scores.get(token));
            score.is_some_and(|score| score + bonus > floor)
        };
        self.tokens.len() == scores.len() || self.tokens.iter().filter(is_above).count() >= wanted
    }
}
