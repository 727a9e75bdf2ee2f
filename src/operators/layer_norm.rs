//! Layer normalization of a pixel's channels.

use pulp::{Scalar, Simd};

/// `(x − mean) / sqrt(variance + epsilon) · scale + shift`, over the channels.
#[derive(Debug)]
pub(super) struct LayerNorm {
    /// `[channels]`, as is `shift`.
    pub(super) scale: Vec<f32>,
    pub(super) shift: Vec<f32>,
    pub(super) epsilon: f32,
}

impl LayerNorm {
    /// Normalizes channels with a known sum.
    ///
    /// The variance is the mean of the squared distances from the mean: the mean of squares minus the squared mean would
    /// lose digits.
    #[inline(always)]
    pub(super) fn apply<S: Simd>(&self, simd: S, values: &[f32], sum: f32, normalized: &mut [f32]) {
        let (head, tail) = values.split_at(values.len() - values.len() % S::F32_LANES);
        let count = values.len() as f32;
        let mean = sum / count;
        let variance = (squares(simd, head, mean) + squares(Scalar, tail, mean)) / count;
        let factor = 1.0 / (variance + self.epsilon).sqrt();

        let (scale, scale_tail) = self.scale.split_at(head.len());
        let (shift, shift_tail) = self.shift.split_at(head.len());
        let (normalized, normalized_tail) = normalized.split_at_mut(head.len());
        normalize(simd, head, mean, factor, (scale, shift), normalized);
        normalize(
            Scalar,
            tail,
            mean,
            factor,
            (scale_tail, shift_tail),
            normalized_tail,
        );
    }
}

/// Returns the sum of the squared distances from the mean. The length is a multiple of the vector length.
#[inline(always)]
fn squares<S: Simd>(simd: S, values: &[f32], mean: f32) -> f32 {
    let mean = simd.splat_f32s(mean);
    // Two sums, since an addition waits for the one before.
    let mut sums = [simd.splat_f32s(0.0); 2];
    let (pairs, last) = S::as_simd_f32s(values).0.as_chunks::<2>();
    for pair in pairs {
        for (sum, &value) in sums.iter_mut().zip(pair) {
            let distance = simd.sub_f32s(value, mean);
            *sum = simd.mul_add_e_f32s(distance, distance, *sum);
        }
    }
    let [mut sum, other] = sums;
    for &value in last {
        let distance = simd.sub_f32s(value, mean);
        sum = simd.mul_add_e_f32s(distance, distance, sum);
    }
    simd.reduce_sum_f32s(simd.add_f32s(sum, other))
}

/// Computes `(value − mean) · factor · scale + shift`. The length is a multiple of the vector length.
#[inline(always)]
fn normalize<S: Simd>(
    simd: S,
    values: &[f32],
    mean: f32,
    factor: f32,
    (scale, shift): (&[f32], &[f32]),
    normalized: &mut [f32],
) {
    let (mean, factor) = (simd.splat_f32s(mean), simd.splat_f32s(factor));
    let parameters = S::as_simd_f32s(scale).0.iter().zip(S::as_simd_f32s(shift).0);
    let values = S::as_simd_f32s(values).0.iter().zip(parameters);
    for (to, (&value, (&scale, &shift))) in S::as_mut_simd_f32s(normalized).0.iter_mut().zip(values) {
        let unit = simd.mul_f32s(simd.sub_f32s(value, mean), factor);
        *to = simd.mul_add_e_f32s(unit, scale, shift);
    }
}
