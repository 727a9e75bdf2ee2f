//! The exponential function of vectors.

use std::f32::consts::LOG2_E;
use std::f64::consts::LN_2;

use pulp::Simd;

/// The minimum argument: results below would be subnormal.
const LOWEST: f32 = -87.0;
/// 1.5·2²³, at which floats are 1 apart: adding a small number rounds it to an integer in the lowest bits.
const ROUNDING: f32 = 12_582_912.0;
/// The position of the exponent in a float.
const EXPONENT_SHIFT: u32 = 23;
/// ln 2 in two parts, the first of which has few digits, so that its products with small integers are exact.
const LN_2_HIGH: f32 = 355.0 / 512.0;
const LN_2_LOW: f32 = (LN_2 - LN_2_HIGH as f64) as f32;
/// 1/7!, 1/6!, … 1/1!, 1/0!: the Taylor series, exact to a float's last digit in -ln 2 / 2 ..= ln 2 / 2.
const SERIES: [f32; 8] = [
    1.0 / 5040.0,
    1.0 / 720.0,
    1.0 / 120.0,
    1.0 / 24.0,
    1.0 / 6.0,
    0.5,
    1.0,
    1.0,
];

/// Returns `exp(x)` for `x ≤ 0`, as `2ⁿ · eʳ` with an integer `n`. Below -87 it returns exp(-87), 1.6e-38; for NaN, NaN.
#[inline(always)]
pub(super) fn exp<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let is_number = simd.equal_f32s(x, x);
    let nan = x;
    let x = simd.max_f32s(x, simd.splat_f32s(LOWEST));
    let rounding = simd.splat_f32s(ROUNDING);
    let shifted = simd.mul_add_e_f32s(x, simd.splat_f32s(LOG2_E), rounding);
    let n = simd.sub_f32s(shifted, rounding);
    let r = simd.mul_add_e_f32s(n, simd.splat_f32s(-LN_2_HIGH), x);
    let r = simd.mul_add_e_f32s(n, simd.splat_f32s(-LN_2_LOW), r);
    let [first, rest @ ..] = SERIES;
    let mut sum = simd.splat_f32s(first);
    for coefficient in rest {
        sum = simd.mul_add_e_f32s(sum, r, simd.splat_f32s(coefficient));
    }
    let exponent =
        simd.wrapping_dyn_shl_u32s(simd.transmute_u32s_f32s(shifted), simd.splat_u32s(EXPONENT_SHIFT));
    let power = simd.transmute_f32s_u32s(simd.add_u32s(simd.transmute_u32s_f32s(sum), exponent));
    // The maximum of NaN and a number differs between CPUs.
    simd.select_f32s(is_number, power, nan)
}

#[cfg(test)]
mod tests {
    use pulp::bytemuck::cast_slice;
    use pulp::{Arch, WithSimd};

    use super::*;

    struct LargestError(Vec<f32>);

    impl WithSimd for LargestError {
        type Output = f64;

        /// Returns the largest relative error.
        fn with_simd<S: Simd>(self, simd: S) -> f64 {
            let errors = self.0.into_iter().map(|x| {
                let results = [exp(simd, simd.splat_f32s(x))];
                let result = f64::from(cast_slice::<S::f32s, f32>(&results)[0]);
                let exact = f64::from(x).exp();
                (result / exact - 1.0).abs()
            });
            errors.fold(0.0, |largest, error| {
                if error > largest || error.is_nan() {
                    error
                } else {
                    largest
                }
            })
        }
    }

    #[test]
    fn it_is_exact_to_the_last_digits() {
        let arguments: Vec<f32> = (0..=87_000).map(|i| i as f32 / -1000.0).collect();
        for arch in [Arch::new(), Arch::Scalar] {
            let error = arch.dispatch(LargestError(arguments.clone()));
            assert!(error < 3e-7, "{error:e}");
            for nan in [f32::NAN, f32::from_bits(0xffff_ffff), f32::from_bits(0x7f80_0001)] {
                let error = arch.dispatch(LargestError(vec![nan]));
                assert!(error.is_nan(), "{error}");
            }
        }
    }
}
