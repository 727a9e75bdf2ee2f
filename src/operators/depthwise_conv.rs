//! A 3×3 depthwise convolution of channels-last pixels, a few pixels of a row at a time.

use std::array;

use pulp::{Scalar, Simd};

/// The kernel's rows and columns.
pub(super) const KERNEL: usize = 3;
const TAPS: usize = KERNEL * KERNEL;

/// Channels whose weights are adjacent: the lanes of the widest vectors. If weights were stored tap by tap for all
/// channels, the weights of a vector would be a power of two apart, as its pixels are, and would compete for the same
/// lines of the CPU's cache.
const TILE: usize = 16;

/// One 3×3 kernel and one bias per channel; stride 1, padded with one pixel of zeros.
#[derive(Debug)]
pub(super) struct DepthwiseConv {
    height: usize,
    width: usize,
    bias: Vec<f32>,
    /// By tile, tap and channel; the last tile is padded with zeros.
    weight: Vec<[[f32; TILE]; TAPS]>,
    /// A pixel of the padding.
    outside: Vec<f32>,
}

impl DepthwiseConv {
    /// Creates it from `Conv`'s weight, `[channels, 1, 3, 3]`, and bias.
    pub(super) fn new([height, width]: [usize; 2], weight: &[f32], bias: Vec<f32>) -> Self {
        let tile = |kernels: &[f32]| {
            array::from_fn(|tap| {
                array::from_fn(|channel| kernels.get(channel * TAPS + tap).copied().unwrap_or(0.0))
            })
        };
        Self {
            height,
            width,
            weight: weight.chunks(TILE * TAPS).map(tile).collect(),
            outside: vec![0.0; bias.len()],
            bias,
        }
    }

    /// Returns the image's width.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    pub(super) fn channels(&self) -> usize {
        self.bias.len()
    }

    /// Computes `N` pixels of a row from (`x`, `y`) on, and returns the sum of each pixel's channels. `N_AND_BORDER` is `N + 2`.
    ///
    /// `image`: `[height, width, channels]`; `out`: `[N, channels]`.
    #[inline(always)]
    pub(super) fn pixels<S: Simd, const N: usize, const N_AND_BORDER: usize>(
        &self,
        simd: S,
        image: &[f32],
        (x, y): (usize, usize),
        out: &mut [f32],
    ) -> [f32; N] {
        let mut inputs = [[self.outside.as_slice(); N_AND_BORDER]; KERNEL];
        for (row, inputs) in inputs.iter_mut().enumerate() {
            for (column, input) in inputs.iter_mut().enumerate() {
                *input = self.input(image, x + column, y + row);
            }
        }
        let vectors = self.channels() - self.channels() % S::F32_LANES;
        let mut sums = self.span::<S, N, N_AND_BORDER>(simd, &inputs, (0, vectors), out);
        let rest = self.span::<Scalar, N, N_AND_BORDER>(Scalar, &inputs, (vectors, self.channels()), out);
        for (sum, rest) in sums.iter_mut().zip(rest) {
            *sum += rest;
        }
        sums
    }

    /// Returns the pixel at (`x − 1`, `y − 1`).
    #[inline(always)]
    fn input<'a>(&'a self, image: &'a [f32], x: usize, y: usize) -> &'a [f32] {
        if (1..=self.width).contains(&x) && (1..=self.height).contains(&y) {
            let start = ((y - 1) * self.width + (x - 1)) * self.channels();
            &image[start..start + self.channels()]
        } else {
            &self.outside
        }
    }

    /// Computes the channels `from..to`, a multiple of the vector's length.
    #[inline(always)]
    fn span<S: Simd, const N: usize, const N_AND_BORDER: usize>(
        &self,
        simd: S,
        inputs: &[[&[f32]; N_AND_BORDER]; KERNEL],
        (from, to): (usize, usize),
        out: &mut [f32],
    ) -> [f32; N] {
        // The optimizer sees that all slices have the same length, and omits checks inside the loop.
        let bias = S::as_simd_f32s(&self.bias[from..to]).0;
        let count = bias.len();
        let vectors = |values| &S::as_simd_f32s(values).0[..count];

        let mut pixels = [[bias; N_AND_BORDER]; KERNEL];
        for (pixels, inputs) in pixels.iter_mut().zip(inputs) {
            for (pixel, input) in pixels.iter_mut().zip(inputs) {
                *pixel = vectors(&input[from..to]);
            }
        }
        let mut outs: [&mut [S::f32s]; N] = array::from_fn(|_| Default::default());
        for (vectors, out) in outs.iter_mut().zip(out.chunks_exact_mut(self.channels())) {
            *vectors = &mut S::as_mut_simd_f32s(&mut out[from..to]).0[..count];
        }

        let mut sums = [simd.splat_f32s(0.0); N];
        for i in 0..count {
            let channel = from + i * S::F32_LANES;
            let weight = &self.weight[channel / TILE];
            let mut values = [bias[i]; N];
            for row in 0..KERNEL {
                for column in 0..KERNEL {
                    let weight = &weight[row * KERNEL + column];
                    let weight = S::as_simd_f32s(weight).0[channel % TILE / S::F32_LANES];
                    for n in 0..N {
                        values[n] = simd.mul_add_e_f32s(weight, pixels[row][n + column][i], values[n]);
                    }
                }
            }
            for n in 0..N {
                outs[n][i] = values[n];
                sums[n] = simd.add_f32s(sums[n], values[n]);
            }
        }
        sums.map(|sum| simd.reduce_sum_f32s(sum))
    }
}
