//! Arithmetic over a row of scores, `[vocabulary]`: plain loops, compiled for several instruction sets.

use multiversion::multiversion;

/// Turns scores into log-probabilities: `(x - max) - ln Σ exp(x - max)`, computed in torch's order.
pub(super) fn log_softmax(scores: &mut [f32]) {
    let log_sum_exp = log_sum_exp(scores);
    for score in scores {
        *score = log_sum_exp.normalize(*score);
    }
}

/// Writes the [`log_softmax`] of `logits` to `scores`, which is resized.
pub(super) fn log_softmax_of(logits: &[f32], scores: &mut Vec<f32>) -> LogSumExp {
    let log_sum_exp = log_sum_exp(logits);
    scores.clear();
    scores.extend(logits.iter().map(|&logit| log_sum_exp.normalize(logit)));
    log_sum_exp
}

/// `ln Σ exp(x)`, split into the maximum and the rest.
#[derive(Debug, Clone, Copy)]
pub(super) struct LogSumExp {
    max: f32,
    /// `ln Σ exp(x - max)`
    rest: f32,
}

impl LogSumExp {
    /// Creates it from the maximum and `ln Σ exp(x - max)`.
    pub fn new(max: f32, rest: f32) -> Self {
        Self { max, rest }
    }

    /// Returns whether all scores are -∞.
    pub fn is_impossible(self) -> bool {
        self.max == f32::NEG_INFINITY
    }

    /// Returns a score's log-probability: -∞ for -∞, even if all scores are.
    pub fn normalize(self, score: f32) -> f32 {
        if score == f32::NEG_INFINITY {
            score
        } else {
            (score - self.max) - self.rest
        }
    }

    /// Returns the index of the first maximum of the scores that this was computed from; 0 without scores.
    pub fn argmax(self, scores: &[f32]) -> usize {
        scores.iter().position(|&score| score == self.max).unwrap_or(0)
    }
}

pub(super) fn log_sum_exp(scores: &[f32]) -> LogSumExp {
    let max = max(scores);
    LogSumExp {
        max,
        rest: sum_exp(scores, max).ln() as f32,
    }
}

/// Returns whether a softmax of the scores is defined: no score is NaN or +∞.
#[multiversion(targets("x86_64+avx2"))]
pub(super) fn are_numbers(scores: &[f32]) -> bool {
    let is_number = |score: f32| score < f32::INFINITY;
    let (vectors, rest) = scores.as_chunks::<64>();
    // Flags as wide as the scores, without branches, so that the loop is vectorized.
    let mut others = [0_u32; 64];
    for vector in vectors {
        for (other, &score) in others.iter_mut().zip(vector) {
            *other |= u32::from(!is_number(score));
        }
    }
    others == [0; 64] && rest.iter().all(|&score| is_number(score))
}

/// Returns the highest score, ignoring NaN; -∞ without scores.
#[multiversion(targets("x86_64+avx2"))]
pub(super) fn max(scores: &[f32]) -> f32 {
    let (vectors, rest) = scores.as_chunks::<64>();
    let mut maxima = [f32::NEG_INFINITY; 64];
    for vector in vectors {
        for (max, &score) in maxima.iter_mut().zip(vector) {
            *max = if score > *max { score } else { *max };
        }
    }
    maxima
        .iter()
        .chain(rest)
        .copied()
        .fold(f32::NEG_INFINITY, f32::max)
}

/// Returns `Σ exp(x - max)`.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
fn sum_exp(scores: &[f32], max: f32) -> f64 {
    const LANES: usize = 32;
    /// The number of scores summed in f32 before the sum is added in f64: the relative error stays below 1e-6.
    const BLOCK: usize = 64 * LANES;
    let mut sum = 0.0;
    for block in scores.chunks(BLOCK) {
        let (vectors, rest) = block.as_chunks::<LANES>();
        let mut sums = [0.0_f32; LANES];
        for vector in vectors {
            for (sum, &score) in sums.iter_mut().zip(vector) {
                *sum += exp(score - max);
            }
        }
        let rest = rest.iter().map(|&score| f64::from(exp(score - max)));
        sum += sums.iter().copied().map(f64::from).sum::<f64>() + rest.sum::<f64>();
    }
    sum
}

/// Returns `exp(x)` for x ≤ 0 with a relative error below 1e-7, without branches: Cephes' `expf`. Below -87, where results
/// would be subnormal, it returns exp(-87), which is negligible beside the maximum's 1.
#[inline(always)]
fn exp(x: f32) -> f32 {
    /// ln 2 in two parts: the first has few bits, so that its multiples are exact.
    const LN_2: [f32; 2] = [355.0 / 512.0, -2.121_944_4e-4];
    /// 1.5 · 2²³: adding a small number rounds it to an integer in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    const POLYNOMIAL: [f32; 6] = [
        1.987_569_2e-4,
        1.398_199_9e-3,
        8.333_452e-3,
        4.166_579_6e-2,
        1.666_666_5e-1,
        0.5,
    ];
    const MANTISSA_BITS: u32 = 23;
    // Not `f32::max`, which drops NaN.
    let x = if x < -87.0 { -87.0 } else { x };
    let rounded = x * std::f32::consts::LOG2_E + ROUND;
    let power = rounded - ROUND;
    let rest = (x - power * LN_2[0]) - power * LN_2[1];
    let series = POLYNOMIAL.iter().fold(0.0, |sum, &factor| sum * rest + factor);
    let mantissa = series * rest * rest + rest + 1.0;
    f32::from_bits(
        mantissa
            .to_bits()
            .wrapping_add(rounded.to_bits() << MANTISSA_BITS),
    )
}

/// Calls `offer` with each run of `scores` that has a score above the threshold once `bonus` is added. `offer` gets the
/// index of the run's first score and the run, and returns the new threshold.
///
/// Few scores of a large vocabulary pass, so whole runs are compared at once.
#[multiversion(targets("x86_64+avx2"))]
pub(super) fn scan_above(
    scores: &[f32],
    bonus: f32,
    mut threshold: f32,
    offer: &mut dyn FnMut(usize, &[f32]) -> f32,
) {
    const RUN: usize = 64;
    let (runs, rest) = scores.as_chunks::<RUN>();
    for (index, run) in runs.iter().enumerate() {
        if run
            .iter()
            .fold(false, |any, &score| any | (score + bonus > threshold))
        {
            threshold = offer(index * RUN, run);
        }
    }
    offer(runs.len() * RUN, rest);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exact(scores: &[f32]) -> Vec<f64> {
        let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = scores
            .iter()
            .map(|&score| (f64::from(score) - f64::from(max)).exp())
            .sum();
        scores
            .iter()
            .map(|&score| f64::from(score) - f64::from(max) - sum.ln())
            .collect()
    }

    #[test]
    fn log_softmax_is_exact_to_one_millionth() {
        for length in [1usize, 7, 8, 9, 51_289] {
            for spread in [0.01f32, 5.0, 30.0, 200.0] {
                let logits: Vec<f32> = (0..length as u32)
                    .map(|i| (i.wrapping_mul(2_654_435_761) >> 12) as f32 / (1 << 20) as f32 * spread - 3.0)
                    .collect();
                let mut found = logits.clone();
                log_softmax(&mut found);
                for (found, exact) in found.iter().zip(exact(&logits)) {
                    let error = (f64::from(*found) - exact).abs();
                    assert!(
                        error <= 1e-6 * exact.abs().max(1.0),
                        "{found} {exact} of {length}, spread {spread}"
                    );
                }
            }
        }
    }

    #[test]
    fn exp_is_exact_to_one_ten_millionth() {
        for step in 0..870_000 {
            let x = step as f32 * -1e-4;
            let exact = f64::from(x).exp();
            assert!((f64::from(exp(x)) / exact - 1.0).abs() < 1e-7, "{x}");
        }
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(f32::NEG_INFINITY) < 1e-37);
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn nan_and_infinity_are_rejected() {
        for length in [1, 63, 64, 200] {
            for place in [0, length / 2, length - 1] {
                let with = |score| {
                    let mut scores = vec![-1.0; length];
                    scores[place] = score;
                    are_numbers(&scores)
                };
                assert!(with(f32::NEG_INFINITY) && with(f32::MAX));
                assert!(!with(f32::NAN) && !with(f32::INFINITY));
            }
        }
    }

    #[test]
    fn scanning_offers_all_scores_above_the_threshold() {
        let scores: Vec<f32> = (0..1000).map(|i| ((i * 7919) % 1009) as f32).collect();
        let mut found = Vec::new();
        scan_above(&scores, 10.0, 1000.0, &mut |first, run| {
            found.extend(
                (first..)
                    .zip(run)
                    .filter(|&(_, score)| score + 10.0 > 1000.0)
                    .map(|(index, _)| index),
            );
            1000.0
        });
        let expected: Vec<usize> = (0..1000).filter(|&index| scores[index] + 10.0 > 1000.0).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn impossible_scores_stay_impossible() {
        let mut scores = vec![f32::NEG_INFINITY; 20];
        scores[3] = 2.0;
        log_softmax(&mut scores);
        assert_eq!(scores.iter().filter(|&&score| score == 0.0).count(), 1);
        assert_eq!(
            scores.iter().filter(|&&score| score == f32::NEG_INFINITY).count(),
            19
        );
        let mut none = vec![f32::NEG_INFINITY; 9];
        log_softmax(&mut none);
        assert!(none.iter().all(|&score| score == f32::NEG_INFINITY));
    }

    #[test]
    fn argmax_takes_the_first_of_equals() {
        let argmax = |scores: &[f32]| log_sum_exp(scores).argmax(scores);
        assert_eq!(argmax(&[1.0, 3.0, 3.0, f32::NEG_INFINITY]), 1);
        assert_eq!(argmax(&[f32::NEG_INFINITY; 3]), 0);
        let many: Vec<f32> = (0..100).map(|i| (i % 37) as f32).collect();
        assert_eq!(argmax(&many), 36);
    }
}
