//! What shapes the distribution that sampling draws from.

use super::LogitsProcessor;
use crate::generation::math::{log_softmax, log_sum_exp};

/// Divides the scores (`TemperatureLogitsWarper`).
pub(super) struct Temperature {
    temperature: f32,
}

impl Temperature {
    pub fn new(temperature: f64) -> Self {
        Self {
            temperature: temperature as f32,
        }
    }
}

impl LogitsProcessor for Temperature {
    fn process(&mut self, _tokens: &[u32], scores: &mut [f32]) {
        scores.iter_mut().for_each(|score| *score /= self.temperature);
    }
}

/// Keeps the best tokens, and those equal to the last of them (`TopKLogitsWarper`).
pub(super) struct TopK {
    k: usize,
    sorted: Vec<f32>,
}

impl TopK {
    /// `k` is at least 1.
    pub fn new(k: usize) -> Self {
        Self {
            k,
            sorted: Vec::new(),
        }
    }
}

impl LogitsProcessor for TopK {
    fn process(&mut self, _tokens: &[u32], scores: &mut [f32]) {
        if self.k >= scores.len() {
            return;
        }
        self.sorted.clear();
        self.sorted.extend_from_slice(scores);
        let (_, &mut last_kept, _) = self
            .sorted
            .select_nth_unstable_by(self.k - 1, |a, b| b.total_cmp(a));
        for score in scores {
            if *score < last_kept {
                *score = f32::NEG_INFINITY;
            }
        }
    }
}

/// Keeps the best tokens that together reach a probability (`TopPLogitsWarper`).
pub(super) struct TopP {
    /// Probability of the tokens that go.
    tail: f32,
    min_tokens_to_keep: usize,
    ranking: Ranking,
}

impl TopP {
    pub fn new(top_p: f64, min_tokens_to_keep: usize) -> Self {
        Self {
            tail: (1.0 - top_p) as f32,
            min_tokens_to_keep,
            ranking: Ranking::default(),
        }
    }
}

impl LogitsProcessor for TopP {
    fn process(&mut self, _tokens: &[u32], scores: &mut [f32]) {
        let log_sum_exp = log_sum_exp(scores);
        let ascending = self.ranking.possible_by(scores, |score| score);
        let removable = ascending.len().saturating_sub(self.min_tokens_to_keep);
        let mut cumulative = 0.0f64;
        for &(_, token) in &ascending[..removable] {
            cumulative += f64::from(log_sum_exp.normalize(scores[token]).exp());
            if cumulative as f32 > self.tail {
                break;
            }
            scores[token] = f32::NEG_INFINITY;
        }
    }
}

/// Keeps tokens with a share of the best one's probability (`MinPLogitsWarper`).
pub(super) struct MinP {
    min_p: f32,
    min_tokens_to_keep: usize,
    ranking: Ranking,
}

impl MinP {
    pub fn new(min_p: f64, min_tokens_to_keep: usize) -> Self {
        Self {
            min_p: min_p as f32,
            min_tokens_to_keep,
            ranking: Ranking::default(),
        }
    }
}

impl LogitsProcessor for MinP {
    fn process(&mut self, _tokens: &[u32], scores: &mut [f32]) {
        let log_sum_exp = log_sum_exp(scores);
        let probability = |score: f32| log_sum_exp.normalize(score).exp();
        let descending = self.ranking.possible_by(scores, |score| -score);
        let Some(&(_, best)) = descending.first() else {
            return;
        };
        let least = self.min_p * probability(scores[best]);
        for &(_, token) in descending.iter().skip(self.min_tokens_to_keep) {
            if probability(scores[token]) < least {
                scores[token] = f32::NEG_INFINITY;
            }
        }
    }
}

/// Keeps the tokens whose information is closest to the distribution's entropy and that together reach a
/// probability (`TypicalLogitsWarper`).
pub(super) struct Typical {
    mass: f32,
    min_tokens_to_keep: usize,
    ranking: Ranking,
}

impl Typical {
    pub fn new(mass: f64, min_tokens_to_keep: usize) -> Self {
        Self {
            mass: mass as f32,
            min_tokens_to_keep,
            ranking: Ranking::default(),
        }
    }
}

impl LogitsProcessor for Typical {
    fn process(&mut self, _tokens: &[u32], scores: &mut [f32]) {
        let log_sum_exp = log_sum_exp(scores);
        let log_prob = |score: f32| log_sum_exp.normalize(score);
        let possible = scores
            .iter()
            .copied()
            .filter(|&score| score > f32::NEG_INFINITY)
            .map(log_prob);
        let entropy = possible
            .map(|log_prob| f64::from(-log_prob * log_prob.exp()))
            .sum::<f64>() as f32;
        let typical_first = self
            .ranking
            .possible_by(scores, |score| (-log_prob(score) - entropy).abs());

        let mut cumulative = 0.0f64;
        let below_mass = typical_first.iter().take_while(|&&(_, token)| {
            cumulative += f64::from(log_prob(scores[token]).exp());
            (cumulative as f32) < self.mass
        });
        let last_index = below_mass.count().min(typical_first.len().saturating_sub(1));
        let Some(&(last_kept, _)) = typical_first.get(last_index) else {
            return;
        };
        for &(distance, token) in typical_first.iter().skip(self.min_tokens_to_keep) {
            if distance > last_kept {
                scores[token] = f32::NEG_INFINITY;
            }
        }
    }
}

/// Makes log-probabilities of whatever the other processors left (`LogitNormalization`).
pub(super) struct Renormalize;

impl LogitsProcessor for Renormalize {
    fn process(&mut self, _tokens: &[u32], scores: &mut [f32]) {
        log_softmax(scores);
    }
}

/// Memory for sorting tokens.
#[derive(Default)]
struct Ranking(Vec<(f32, usize)>);

impl Ranking {
    /// The possible tokens in ascending order of a key of their scores, each with its key.
    fn possible_by(&mut self, scores: &[f32], key: impl Fn(f32) -> f32) -> &[(f32, usize)] {
        self.0.clear();
        let possible = scores
            .iter()
            .enumerate()
            .filter(|&(_, &score)| score > f32::NEG_INFINITY);
        self.0.extend(possible.map(|(token, &score)| (key(score), token)));
        self.0
            .sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        &self.0
    }
}
