//! Scores of instances from those of tokens.

use std::ops::Range;

use super::Answer;
use super::text::Cleaned;

/// A generated token: where it stands in the answer's text, and how sure the model was of it.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenSpan {
    /// Bytes of the text; empty for a token that by itself completes no character.
    pub range: Range<usize>,
    /// Natural logarithm of its probability (transformers' transition score), at most 0.
    pub log_probability: f32,
}

/// The tokens of an answer, in order, by their place in the cleaned text.
pub(super) struct Scores {
    tokens: Vec<TokenSpan>,
}

impl Scores {
    pub(super) fn new(tokens: &[TokenSpan], cleaned: &Cleaned) -> Self {
        let tokens = tokens
            .iter()
            .map(|token| TokenSpan {
                range: cleaned.locate(&token.range),
                log_probability: token.log_probability,
            })
            .filter(|token| !token.range.is_empty())
            .collect();
        Self { tokens }
    }

    /// `exp(mean(log p))` over the tokens that overlap any of `ranges`; `None` if none does, or if a
    /// log-probability is not a number.
    fn of(&self, ranges: &[Range<usize>]) -> Option<f32> {
        let (sum, count) = ranges
            .iter()
            .flat_map(|range| self.overlapping(range))
            .fold((0.0, 0_u32), |(sum, count), token| {
                (sum + f64::from(token.log_probability), count + 1)
            });
        let score = (sum / f64::from(count)).exp() as f32;
        (!score.is_nan()).then(|| score.min(1.0))
    }

    fn overlapping(&self, range: &Range<usize>) -> impl Iterator<Item = &TokenSpan> {
        let first = self
            .tokens
            .partition_point(|token| token.range.end <= range.start);
        let end = range.end;
        self.tokens
            .iter()
            .skip(first)
            .take_while(move |token| token.range.start < end)
    }
}

impl Answer<'_> {
    /// The score of what stands in these ranges of the cleaned text, where tokens are known.
    pub(super) fn score(&self, ranges: &[Range<usize>]) -> Option<f32> {
        self.scores.as_ref()?.of(ranges)
    }
}
