//! Rules against repetition.

use super::{LogitsProcessor, ban};

/// Makes the scores of tokens that the sequence already holds worse: positive ones are divided by the penalty,
/// negative ones multiplied (`RepetitionPenaltyLogitsProcessor`).
pub(super) struct RepetitionPenalty {
    penalty: f32,
    /// The sequence's tokens, each once.
    unique: Vec<u32>,
}

impl RepetitionPenalty {
    pub fn new(penalty: f64) -> Self {
        Self {
            penalty: penalty as f32,
            unique: Vec::new(),
        }
    }
}

impl LogitsProcessor for RepetitionPenalty {
    fn process(&mut self, tokens: &[u32], scores: &mut [f32]) {
        self.unique.clear();
        self.unique.extend_from_slice(tokens);
        self.unique.sort_unstable();
        self.unique.dedup();
        for &token in &self.unique {
            if let Some(score) = scores.get_mut(token as usize) {
                *score = if *score < 0.0 {
                    *score * self.penalty
                } else {
                    *score / self.penalty
                };
            }
        }
    }
}

/// Bans every token that would complete an n-gram which the sequence already holds
/// (`NoRepeatNGramLogitsProcessor`).
pub(super) struct NoRepeatNGram {
    size: usize,
}

impl NoRepeatNGram {
    /// `size` is at least 1.
    pub fn new(size: usize) -> Self {
        Self { size }
    }
}

impl LogitsProcessor for NoRepeatNGram {
    fn process(&mut self, tokens: &[u32], scores: &mut [f32]) {
        if tokens.len() < self.size {
            return;
        }
        let prefix = &tokens[tokens.len() + 1 - self.size..];
        for ngram in tokens.windows(self.size) {
            if let [start @ .., last] = ngram
                // Most n-grams differ here already; a comparison of slices is a call.
                && start.last() == prefix.last()
                && start == prefix
            {
                ban(scores, *last);
            }
        }
    }
}
