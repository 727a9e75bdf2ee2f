//! `ExactGelu`: `x · Φ(x)`, where `Φ` is the normal distribution's cumulative distribution function.

use florence2_layout::operators::EXACT_GELU;
use ort::operator::{ComputeContext, Kernel, KernelContext};
use ort::value::TensorElementType::{self, Float32};
use pulp::{Arch, Scalar, Simd, WithSimd};

use super::custom::CustomOperator;
use super::exponential::exp;
use super::{parallel, tensors};

/// Values per piece of work.
const PIECE: usize = 1 << 13;
/// The maximum of `|x|` at which `Φ(-|x|)` is computed: it is 1e-9 there, and taken as that beyond.
const MAX_DISTANCE: f32 = 6.0;
/// `-ln Φ(-t)` for `0 ≤ t ≤ 6`, from the highest power down: the polynomial with the least error in `t · Φ(-t)`, 7.5e-9 (by
/// Lawson's algorithm).
const LOGARITHM: [f32; 9] = [
    1.210_148_9e-6,
    -1.792_628_2e-5,
    8.242_565e-5,
    2.148_291_2e-4,
    -5.067_178_5e-3,
    3.652_302e-2,
    3.182_430_3e-1,
    7.978_956e-1,
    6.931_466e-1,
];

/// | | | |
/// |---|---|---|
/// | inputs | `x` | 32-bit floats of any shape |
/// | outputs | `y` | `x · Φ(x)`, shaped as `x` |
pub(super) struct ExactGelu {
    arch: Arch,
}

impl CustomOperator for ExactGelu {
    const NAME: &str = EXACT_GELU;
    const INPUTS: &[TensorElementType] = &[Float32];
    const OUTPUTS: &[usize] = &[0];
    /// Computing in place halves the memory traffic.
    const INPLACES: &[(u32, u32)] = &[(0, 0)];

    fn new(_: &KernelContext<'_>) -> ort::Result<Self> {
        Ok(Self { arch: Arch::new() })
    }
}

impl Kernel for ExactGelu {
    fn compute(&mut self, context: &ComputeContext) -> ort::Result<()> {
        let x = tensors::input(context, 0)?;
        let mut y = tensors::output(context, 0, x.shape())?;
        let y = y.try_extract_tensor_mut::<f32>()?.1;
        let is_in_place = x.try_extract_tensor::<f32>()?.1.as_ptr() == y.as_ptr();
        let pieces: Vec<Piece<'_>> = if is_in_place {
            // `x` is the same memory, of which only this view is used.
            y.chunks_mut(PIECE)
                .map(|values| Piece { x: None, values })
                .collect()
        } else {
            let x = x.try_extract_tensor::<f32>()?.1.chunks(PIECE);
            let pieces = x.zip(y.chunks_mut(PIECE));
            pieces.map(|(x, values)| Piece { x: Some(x), values }).collect()
        };
        parallel::for_each(context, pieces, |piece| self.arch.dispatch(piece))
    }
}

/// A piece of work.
struct Piece<'a> {
    /// The inputs; `None` if they are in `values`.
    x: Option<&'a [f32]>,
    values: &'a mut [f32],
}

impl WithSimd for Piece<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        if let Some(x) = self.x {
            self.values.copy_from_slice(x);
        }
        let (vectors, rest) = S::as_mut_simd_f32s(self.values);
        for value in vectors {
            *value = gelu(simd, *value);
        }
        for value in rest {
            *value = gelu(Scalar, *value);
        }
    }
}

/// Returns `x · Φ(x)`: `x · Φ(-|x|)` for negative `x`, otherwise `x - x · Φ(-|x|)`. Neither loses digits.
#[inline(always)]
fn gelu<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let zero = simd.splat_f32s(0.0);
    let distance = simd.min_f32s(simd.abs_f32s(x), simd.splat_f32s(MAX_DISTANCE));
    let [highest, rest @ ..] = LOGARITHM;
    let mut logarithm = simd.splat_f32s(highest);
    for coefficient in rest {
        logarithm = simd.mul_add_e_f32s(logarithm, distance, simd.splat_f32s(coefficient));
    }
    let tail = exp(simd, simd.sub_f32s(zero, logarithm));
    let below = simd.mul_f32s(x, tail);
    simd.select_f32s(simd.less_than_f32s(x, zero), below, simd.sub_f32s(x, below))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns `Φ(x)` by its Taylor series at 0, which is exact enough in 64 bits for `|x| ≤ 6`.
    fn phi(x: f64) -> f64 {
        let mut term = x;
        let mut sum = x;
        for n in 1..200 {
            term *= x * x / f64::from(2 * n + 1);
            sum += term;
        }
        0.5 + sum * (-x * x / 2.0).exp() / std::f64::consts::TAU.sqrt()
    }

    fn computed(arch: Arch, x: &[f32]) -> Vec<f32> {
        let mut values = vec![f32::NAN; x.len()];
        arch.dispatch(Piece {
            x: Some(x),
            values: &mut values,
        });
        let mut in_place = x.to_vec();
        arch.dispatch(Piece {
            x: None,
            values: &mut in_place,
        });
        let bits = |values: &[f32]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&values), bits(&in_place));
        values
    }

    #[test]
    fn it_is_exact_to_the_last_digits_with_vectors_and_without() {
        // Not a multiple of the vector's length.
        let x: Vec<f32> = (-6_001..=6_001).map(|i| i as f32 / 1e3).collect();
        for arch in [Arch::new(), Arch::Scalar] {
            for (&x, y) in x.iter().zip(computed(arch, &x)) {
                let (x, y) = (f64::from(x), f64::from(y));
                let error = (y - x * phi(x)).abs() / x.abs().max(1e-3);
                assert!(error < 4e-7, "{x}: {y}, {error:e}");
            }
        }
    }

    #[test]
    fn large_values_become_themselves_or_zero() {
        let x = [-1e4, -100.0, -0.0, 0.0, 100.0, 1e30, f32::NAN];
        for arch in [Arch::new(), Arch::Scalar] {
            let y = computed(arch, &x);
            assert!(y[0].abs() < 1e-4 && y[1].abs() < 1e-6, "{y:?}");
            assert_eq!(y[2..6], x[2..6]);
            assert!(y[6].is_nan());
        }
    }
}
