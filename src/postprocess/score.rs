//! Scores of instances, computed from those of tokens.

use std::ops::Range;

use super::Answer;
use super::text::Cleaned;

/// A generated token's range in the answer's text and its log-probability.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenSpan {
    /// The token's bytes of the text; empty if the token completes no character.
    pub range: Range<usize>,
    /// The natural logarithm of the token's probability (transformers' transition score), at most 0.
    pub log_probability: f32,
}

/// The tokens of an answer, in order, with ranges of the cleaned text.
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

    /// Returns `exp(mean(log p))` over the tokens that overlap any of `ranges`; `None` if none does or a log-probability is
    /// NaN.
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
    /// Returns the score of ranges of the cleaned text; `None` without tokens.
    pub(super) fn score(&self, ranges: &[Range<usize>]) -> Option<f32> {
        self.scores.as_ref()?.of(ranges)
    }
}
