//! Random choices. The numbers come from ChaCha8, which gives the same ones on every machine.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use super::math::LogSumExp;

/// The random numbers of an input's `index`-th sequence. Every input of a batch gets the same ones, so that its
/// sequences do not depend on its place.
pub(super) fn stream(seed: u64, index: u64) -> ChaCha8Rng {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(index);
    random
}

/// From 0 (included) to 1 (excluded), in steps of 2⁻⁵³.
fn uniform(random: &mut ChaCha8Rng) -> f64 {
    (random.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

/// Gumbel-distributed noise: -ln(-ln u).
pub(super) fn gumbel(random: &mut ChaCha8Rng) -> f32 {
    // Never 0, whose logarithm is infinite.
    let uniform = uniform(random) + 0.5 / (1u64 << 53) as f64;
    -(-uniform.ln()).ln() as f32
}

/// An index, drawn by the probabilities that the scores stand for; 0 if none is possible.
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
