//! Random values, generated when they are written.

use std::borrow::Cow;

use half::f16;
use safetensors::{Dtype, View};

/// The distribution of a tensor's values.
pub(super) enum Values {
    /// A normal distribution.
    Normal { mean: f32, deviation: f32, seed: u64 },
    /// A table of sines and cosines with rows of `dim` values, not random.
    Sinusoids { dim: usize },
}

impl Values {
    /// Returns the distribution of a weight. With the standard deviation of transformers' initialization (0.02),
    /// answers would depend neither on the image nor on the prompt; these values preserve the variance of activations
    /// through the layers, concentrate attention and separate the best tokens from the others.
    pub(super) fn of(name: &str, shape: &[usize], seed: u64) -> Self {
        let per_input = |gain: f32| gain / (shape.iter().skip(1).product::<usize>() as f32).sqrt();
        let (mean, deviation) = if name.ends_with(".bias") {
            (0.0, 0.1)
        } else if name.contains("norm") {
            (1.0, 0.25)
        } else if name.contains("embed") || name.contains("shared") {
            (0.0, per_input(2.5))
        } else if name.contains("q_proj") || name.contains("k_proj") {
            (0.0, per_input(1.4))
        } else {
            (0.0, per_input(1.0))
        };
        // FNV-1a of the name, so that each tensor has a different sequence.
        let seed = name.bytes().fold(seed ^ 0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Values::Normal {
            mean,
            deviation,
            seed,
        }
    }

    fn value(&self, index: usize) -> f32 {
        match *self {
            Values::Normal {
                mean,
                deviation,
                seed,
            } => mean + deviation * normal(seed, index as u64),
            Values::Sinusoids { dim } => sinusoid(index / dim, index % dim, dim),
        }
    }
}

/// Returns a value of transformers' `Florence2VisionPositionalEmbeddingCosine1D`: sines at even indices, cosines at odd
/// ones, with wavelengths up to 2π · 10000.
fn sinusoid(position: usize, index: usize, dim: usize) -> f32 {
    let half = dim / 2;
    let angle = position as f64 * (-(10000f64.ln()) / half as f64 * (index / 2) as f64).exp();
    if index.is_multiple_of(2) {
        angle.sin() as f32
    } else {
        angle.cos() as f32
    }
}

/// Returns draw `index` of a sequence with an approximately normal distribution: the sum of four uniform numbers, scaled to
/// variance 1.
///
/// The generator is SplitMix64 (Steele et al., 2014) by index, implemented here so that a seed's bytes never change with a
/// dependency.
fn normal(seed: u64, index: u64) -> f32 {
    let mut bits = seed.wrapping_add(index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^= bits >> 31;
    let sum: i32 = [0, 16, 32, 48]
        .map(|shift| ((bits >> shift) & 0xffff) as i32)
        .iter()
        .sum();
    // Four uniform numbers of 16 bits: mean 2 · 65535, variance 4 · (65536² - 1) / 12.
    (sum - 2 * 65535) as f32 * (1.0 / (65536.0 * 0.577_350_26))
}

/// A tensor whose values are generated when they are written.
pub(super) struct RandomTensor {
    pub(super) shape: Vec<usize>,
    pub(super) values: Values,
    pub(super) half_precision: bool,
}

impl RandomTensor {
    fn len(&self) -> usize {
        self.shape.iter().product()
    }
}

impl View for RandomTensor {
    fn dtype(&self) -> Dtype {
        if self.half_precision {
            Dtype::F16
        } else {
            Dtype::F32
        }
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let values = (0..self.len()).map(|index| self.values.value(index));
        if self.half_precision {
            values
                .flat_map(|value| f16::from_f32(value).to_le_bytes())
                .collect()
        } else {
            values.flat_map(f32::to_le_bytes).collect()
        }
    }

    fn data_len(&self) -> usize {
        self.len()
            * if self.half_precision {
                size_of::<f16>()
            } else {
                size_of::<f32>()
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_have_mean_0_and_variance_1() {
        let draws: Vec<f64> = (0..200_000).map(|index| f64::from(normal(42, index))).collect();
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        let variance = draws.iter().map(|draw| (draw - mean).powi(2)).sum::<f64>() / draws.len() as f64;
        assert!(mean.abs() < 0.01, "{mean}");
        assert!((variance - 1.0).abs() < 0.02, "{variance}");
        assert_eq!(normal(42, 7), normal(42, 7));
        assert_ne!(normal(42, 7), normal(43, 7));
    }
}
