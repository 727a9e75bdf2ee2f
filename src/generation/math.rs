//! Arithmetic over a row of scores, `[vocabulary]`.

use wide::f32x8;

/// Turns logits into log-probabilities: `(x - max) - ln Σ exp(x - max)`, in the order in which torch computes it.
pub(super) fn log_softmax(scores: &mut [f32]) {
    let log_sum_exp = log_sum_exp(scores);
    for score in scores {
        *score = log_sum_exp.normalize(*score);
    }
}

/// `ln Σ exp(x)`, as the maximum and the rest.
#[derive(Debug, Clone, Copy)]
pub(super) struct LogSumExp {
    max: f32,
    /// `ln Σ exp(x - max)`
    rest: f32,
}

impl LogSumExp {
    /// A score's log-probability. Of -∞ it is -∞, even where all scores are.
    pub fn normalize(self, score: f32) -> f32 {
        if score == f32::NEG_INFINITY {
            score
        } else {
            (score - self.max) - self.rest
        }
    }

    /// The index of the highest of the scores that this was made of, the first of equal ones; 0 if there is none.
    pub fn argmax(self, scores: &[f32]) -> usize {
        scores.iter().position(|&score| score == self.max).unwrap_or(0)
    }
}

pub(super) fn log_sum_exp(scores: &[f32]) -> LogSumExp {
    /// Vectors summed in f32 before the sum goes over to f64: keeps the relative error below 1e-6.
    const BLOCK: usize = 64;
    let (vectors, rest) = scores.as_chunks::<8>();
    let mut maxima = f32x8::splat(f32::NEG_INFINITY);
    for vector in vectors {
        maxima = maxima.fast_max(f32x8::from(*vector));
    }
    let max = maxima
        .to_array()
        .iter()
        .chain(rest)
        .copied()
        .fold(f32::NEG_INFINITY, f32::max);
    let mut sum: f64 = rest.iter().map(|&score| f64::from((score - max).exp())).sum();
    for block in vectors.chunks(BLOCK) {
        let mut block_sum = f32x8::ZERO;
        for vector in block {
            block_sum += (f32x8::from(*vector) - f32x8::splat(max)).exp();
        }
        sum += f64::from(block_sum.reduce_add());
    }
    LogSumExp {
        max,
        rest: sum.ln() as f32,
    }
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
