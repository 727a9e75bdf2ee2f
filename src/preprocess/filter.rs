//! Resampling filters and their fixed-point weights, as in Pillow's `Resample.c`, which torch follows.

use std::f64::consts::PI;

use super::backend::ImageBackend;

/// A resampling filter; the numbers are those of `PIL.Image.Resampling` and of `preprocessor_config.json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Resample {
    /// 0: the pixel under the centre.
    Nearest,
    /// 1: sinc windowed by sinc, over three pixels each side.
    Lanczos,
    /// 2: a triangle.
    Bilinear,
    /// 3: Keys' cubic with a = −0.5. Florence-2's.
    #[default]
    Bicubic,
    /// 4: equal weights.
    Box,
    /// 5: sinc in a Hamming window, over one pixel each side.
    Hamming,
}

impl Resample {
    /// Returns the filter of a number in Pillow's `Image.Resampling`, or `None` for other numbers, including Pillow 13's
    /// `MKS2013` (6) and `MKS2021` (7).
    pub const fn from_pillow(number: u64) -> Option<Self> {
        Some(match number {
            0 => Self::Nearest,
            1 => Self::Lanczos,
            2 => Self::Bilinear,
            3 => Self::Bicubic,
            4 => Self::Box,
            5 => Self::Hamming,
            _ => return None,
        })
    }

    /// Returns the filter's kernel; `None` for [`Nearest`](Self::Nearest), which has no weights.
    pub(super) fn kernel(self) -> Option<Kernel> {
        let (support, curve): (f64, fn(f64) -> f64) = match self {
            Self::Nearest => return None,
            Self::Lanczos => (3.0, lanczos),
            Self::Bilinear => (1.0, triangle),
            Self::Bicubic => (2.0, cubic),
            Self::Box => (0.5, rectangle),
            Self::Hamming => (1.0, hamming),
        };
        Some(Kernel { support, curve })
    }
}

/// A filter's half-width in pixels at scale 1, and its curve.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kernel {
    support: f64,
    curve: fn(f64) -> f64,
}

fn rectangle(x: f64) -> f64 {
    if x > -0.5 && x <= 0.5 { 1.0 } else { 0.0 }
}

fn triangle(x: f64) -> f64 {
    (1.0 - x.abs()).max(0.0)
}

fn hamming(x: f64) -> f64 {
    let x = x.abs();
    if x == 0.0 {
        1.0
    } else if x >= 1.0 {
        0.0
    } else {
        let x = x * PI;
        x.sin() / x * (0.54 + 0.46 * x.cos())
    }
}

fn cubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 {
        1.0
    } else {
        let x = x * PI;
        x.sin() / x
    }
}

fn lanczos(x: f64) -> f64 {
    if (-3.0..3.0).contains(&x) {
        sinc(x) * sinc(x / 3.0)
    } else {
        0.0
    }
}

/// Fractional bits of Pillow's weights: 32, less 8 for the pixel and 2 for overshoot.
pub(super) const PILLOW_PRECISION_BITS: u32 = 32 - 8 - 2;

/// The weights of one axis: for each output pixel, the first input pixel that contributes and the weights from there on.
pub(super) struct Weights {
    first: Vec<usize>,
    /// Where each output pixel's weights start in `weights`, and where the last one's end.
    offsets: Vec<usize>,
    weights: Vec<i32>,
    precision_bits: u32,
}

impl Weights {
    /// Computes the weights of an axis: `precompute_coeffs` and `normalize_coeffs_8bpc` of Pillow. torch's
    /// `_compute_index_ranges_int16_weights` differs only in the number of bits. Both lengths are at least 1.
    pub(super) fn new(kernel: Kernel, input: usize, output: usize, backend: ImageBackend) -> Self {
        let scale = input as f64 / output as f64;
        let filter_scale = scale.max(1.0);
        let support = kernel.support * filter_scale;
        let inverse = 1.0 / filter_scale;

        let mut firsts = Vec::with_capacity(output);
        let mut offsets = vec![0];
        let mut weights = Vec::new();
        for position in 0..output {
            let centre = (position as f64 + 0.5) * scale;
            // Truncates towards zero, as in C; a negative value becomes 0.
            let first = (centre - support + 0.5) as usize;
            let end = ((centre + support + 0.5) as usize).min(input);
            let start = weights.len();
            weights.extend((first..end).map(|x| (kernel.curve)((x as f64 - centre + 0.5) * inverse)));
            let added = weights.get_mut(start..).unwrap_or_default();
            let sum: f64 = added.iter().sum();
            if sum != 0.0 {
                added.iter_mut().for_each(|weight| *weight /= sum);
            }
            firsts.push(first);
            offsets.push(weights.len());
        }
        let precision_bits = backend.precision_bits(weights.iter().copied().fold(0.0, f64::max));
        let weights = weights
            .into_iter()
            .map(|weight| fixed_point(weight, precision_bits));
        Self {
            first: firsts,
            offsets,
            weights: weights.collect(),
            precision_bits,
        }
    }

    /// Returns the weights' fractional bits, at least 1.
    pub(super) fn precision_bits(&self) -> u32 {
        self.precision_bits
    }

    /// Returns the number of output pixels.
    pub(super) fn len(&self) -> usize {
        self.first.len()
    }

    /// Returns the first input pixel that contributes to an output pixel; 0 past the end.
    pub(super) fn first(&self, position: usize) -> usize {
        self.first.get(position).copied().unwrap_or_default()
    }

    /// Returns one past the last input pixel that contributes to an output pixel; 0 past the end. Both this and
    /// [`first`](Self::first) are monotonic.
    pub(super) fn end(&self, position: usize) -> usize {
        match (self.offsets.get(position), self.offsets.get(position + 1)) {
            (Some(start), Some(end)) => self.first(position) + (end - start),
            _ => 0,
        }
    }

    /// Returns each output pixel's first input pixel and weights.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &[i32])> {
        let weights = self
            .offsets
            .windows(2)
            .map(|offsets| self.weights.get(offsets[0]..offsets[1]).unwrap_or_default());
        self.first.iter().copied().zip(weights)
    }
}

/// Rounds half away from zero, as Pillow does.
fn fixed_point(weight: f64, precision_bits: u32) -> i32 {
    let scaled = weight * f64::from(1_u32 << precision_bits);
    (if weight < 0.0 { scaled - 0.5 } else { scaled + 0.5 }) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pixel_keeps_its_brightness() {
        let backends = [ImageBackend::Pillow, ImageBackend::Torchvision];
        for (number, backend) in (1..=5).flat_map(|number| backends.map(|backend| (number, backend))) {
            let kernel = Resample::from_pillow(number).and_then(Resample::kernel).unwrap();
            for (input, output) in [(1, 1), (1, 768), (768, 1), (13, 7), (640, 768), (4000, 768)] {
                let weights = Weights::new(kernel, input, output, backend);
                assert_eq!(weights.len(), output);
                let mut last = (0, 0);
                for (position, (first, row)) in weights.iter().enumerate() {
                    let end = first + row.len();
                    assert!(end <= input && last <= (first, end) && last.1 <= end);
                    last = (first, end);
                    assert_eq!((weights.first(position), weights.end(position)), last);
                    let sum: i32 = row.iter().sum();
                    let rounding = row.len() as i32;
                    assert!(
                        (sum - (1 << weights.precision_bits())).abs() <= rounding,
                        "{number} {backend:?} {input} {output} {sum}"
                    );
                }
            }
        }
    }
}
