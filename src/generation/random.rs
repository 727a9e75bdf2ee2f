//! Random numbers by ChaCha8, which are the same on every machine.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use super::math::LogSumExp;

/// Returns the random numbers of an input's `index`-th sequence. They are the same for every input of a batch, so that
/// results do not depend on an input's position.
pub(super) fn stream(seed: u64, index: u64) -> ChaCha8Rng {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(index);
    random
}

/// Returns a number in `0..1`, a multiple of 2⁻⁵³.
fn uniform(random: &mut ChaCha8Rng) -> f64 {
    (random.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

/// Returns Gumbel-distributed noise: -ln(-ln u).
pub(super) fn gumbel(random: &mut ChaCha8Rng) -> f32 {
    // Not 0, whose logarithm is infinite.
    let uniform = uniform(random) + 0.5 / (1u64 << 53) as f64;
    -(-uniform.ln()).ln() as f32
}

/// Samples an index by the scores' probabilities; returns 0 if all scores are -∞.
///
/// The probabilities are summed in f64, in the order of the vocabulary, until they exceed the random number.
pub(super) fn draw(scores: &[f32], log_sum_exp: LogSumExp, random: &mut ChaCha8Rng) -> usize {
    let possible = scores
        .iter()
        .enumerate()
        .filter(|&(_, &score)| score > f32::NEG_INFINITY);
    let mut left = uniform(random);
    let mut last = 0;
    for (index, &score) in possible {
        left -= f64::from(log_sum_exp.normalize(score)).exp();
        last = index;
        if left < 0.0 {
            break;
        }
    }
    last
}
