//! Logits processors of sampling that ban tokens, and the final normalization.

use super::math::{log_softmax, log_sum_exp};

/// Keeps the `k` best tokens, and those equal to the last of them (`TopKLogitsWarper`). `k` is at least 1.
pub(super) fn top_k(k: usize) -> impl FnMut(&[u32], &mut [f32]) {
    let mut sorted = Vec::new();
    move |_: &[u32], scores: &mut [f32]| {
        if k >= scores.len() {
            return;
        }
        sorted.clear();
        sorted.extend_from_slice(scores);
        let (_, &mut last_kept, _) = sorted.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a));
        for score in scores.iter_mut().filter(|score| **score < last_kept) {
            *score = f32::NEG_INFINITY;
        }
    }
}

/// Keeps the best tokens that together reach probability `top_p` (`TopPLogitsWarper`).
pub(super) fn top_p(top_p: f64, min_tokens: usize) -> impl FnMut(&[u32], &mut [f32]) {
    let tail = (1.0 - top_p) as f32;
    let mut ranking = Ranking::default();
    move |_: &[u32], scores: &mut [f32]| {
        let log_sum_exp = log_sum_exp(scores);
        let ascending = ranking.possible_by(scores, |score| score);
        let removable = ascending.len().saturating_sub(min_tokens);
        let mut cumulative = 0.0f64;
        for &(_, token) in &ascending[..removable] {
            cumulative += f64::from(log_sum_exp.normalize(scores[token]).exp());
            if cumulative as f32 > tail {
                break;
            }
            scores[token] = f32::NEG_INFINITY;
        }
    }
}

/// Keeps tokens with at least `min_p` of the best token's probability (`MinPLogitsWarper`).
pub(super) fn min_p(min_p: f32, min_tokens: usize) -> impl FnMut(&[u32], &mut [f32]) {
    let mut ranking = Ranking::default();
    move |_: &[u32], scores: &mut [f32]| {
        let log_sum_exp = log_sum_exp(scores);
        let probability = |score: f32| log_sum_exp.normalize(score).exp();
        let descending = ranking.possible_by(scores, |score| -score);
        let Some(&(_, best)) = descending.first() else {
            return;
        };
        let least = min_p * probability(scores[best]);
        for &(_, token) in descending.iter().skip(min_tokens) {
            if probability(scores[token]) < least {
                scores[token] = f32::NEG_INFINITY;
            }
        }
    }
}

/// Keeps the tokens whose information is closest to the distribution's entropy and that together reach probability
/// `typical_p` (`TypicalLogitsWarper`).
pub(super) fn typical_p(typical_p: f32, min_tokens: usize) -> impl FnMut(&[u32], &mut [f32]) {
    let mut ranking = Ranking::default();
    move |_: &[u32], scores: &mut [f32]| {
        let log_sum_exp = log_sum_exp(scores);
        let log_prob = |score: f32| log_sum_exp.normalize(score);
        let possible = scores.iter().filter(|&&score| score > f32::NEG_INFINITY);
        let entropy = possible
            .map(|&score| log_prob(score))
            .map(|log_prob| f64::from(-log_prob * log_prob.exp()))
            .sum::<f64>() as f32;
        let typical_first = ranking.possible_by(scores, |score| (-log_prob(score) - entropy).abs());

        let mut cumulative = 0.0f64;
        let below_mass = typical_first.iter().take_while(|&&(_, token)| {
            cumulative += f64::from(log_prob(scores[token]).exp());
            (cumulative as f32) < typical_p
        });
        let last_index = below_mass.count().min(typical_first.len().saturating_sub(1));
        let Some(&(last_kept, _)) = typical_first.get(last_index) else {
            return;
        };
        for &(distance, token) in typical_first.iter().skip(min_tokens) {
            if distance > last_kept {
                scores[token] = f32::NEG_INFINITY;
            }
        }
    }
}

/// Turns scores into log-probabilities (`LogitNormalization`).
pub(super) fn renormalize(_: &[u32], scores: &mut [f32]) {
    log_softmax(scores);
}

/// Memory for sorting tokens.
#[derive(Default)]
struct Ranking(Vec<(f32, usize)>);

impl Ranking {
    /// Returns the tokens whose score is not -∞ in ascending order of `key` of their scores, each with its key.
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
