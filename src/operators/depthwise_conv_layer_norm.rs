//! `DepthwiseConvLayerNorm`: a 3×3 depthwise convolution of tokens in image order, and the layer normalization of its
//! result.

use florence2_layout::operators::DEPTHWISE_CONV_LAYER_NORM;
use ort::Error;
use ort::operator::{ComputeContext, Kernel, KernelContext};
use ort::value::TensorElementType::{self, Float32};
use pulp::{Arch, Simd, WithSimd};

use super::custom::CustomOperator;
use super::depthwise_conv::{DepthwiseConv, KERNEL};
use super::layer_norm::LayerNorm;
use super::{parallel, tensors};

/// Pixels of a row computed together: weights are read once for all of them, and each input pixel for three of them.
const BLOCK: usize = 4;

/// | | | |
/// |---|---|---|
/// | inputs | `tokens` | `[batch, height·width, channels]` |
/// | | `weight`, `bias` | `[channels, 1, 3, 3]`, `[channels]`; constants |
/// | | `scale`, `shift` | `[channels]` each; constants |
/// | attributes | `grid` | height and width |
/// | | `epsilon` | of the normalization |
/// | outputs | `convolved` | the convolution, padded with one pixel of zeros, shaped as `tokens` |
/// | | `normalized` | its normalization over the channels, shaped as `tokens` |
///
/// All are 32-bit floats.
pub(super) struct DepthwiseConvLayerNorm {
    arch: Arch,
    /// Height and width.
    grid: [usize; 2],
    conv: DepthwiseConv,
    norm: LayerNorm,
}

impl CustomOperator for DepthwiseConvLayerNorm {
    const NAME: &str = DEPTHWISE_CONV_LAYER_NORM;
    const INPUTS: &[TensorElementType] = &[Float32; 5];
    const OUTPUTS: &[usize] = &[0, 0];

    fn new(context: &KernelContext<'_>) -> ort::Result<Self> {
        let grid: Vec<i64> = tensors::attribute(context, "grid")?;
        let side = |&side: &i64| u32::try_from(side).ok().map(|side| side as usize);
        let grid: Option<Vec<usize>> = grid.iter().map(side).collect();
        let grid = grid.and_then(|grid| <[usize; 2]>::try_from(grid).ok());
        let grid = grid.ok_or_else(|| Error::new("attribute grid must be height and width"))?;
        let [(shape, weight), (_, bias), (_, scale), (_, shift)] = tensors::constants(context, [1, 2, 3, 4])?;
        let channels = bias.len();
        if shape != [channels, 1, KERNEL, KERNEL] || scale.len() != channels || shift.len() != channels {
            return Err(Error::new(
                "weight, bias, scale and shift differ in their number of channels",
            ));
        }
        let epsilon = tensors::attribute(context, "epsilon")?;
        Ok(Self {
            arch: Arch::new(),
            grid,
            conv: DepthwiseConv::new(grid, &weight, bias),
            norm: LayerNorm {
                scale,
                shift,
                epsilon,
            },
        })
    }
}

impl Kernel for DepthwiseConvLayerNorm {
    fn compute(&mut self, context: &ComputeContext) -> ort::Result<()> {
        let tokens = tensors::input(context, 0)?;
        let (shape, tokens) = tokens.try_extract_tensor::<f32>()?;
        let [height, width] = self.grid;
        let row_len = width * self.conv.channels();
        if shape.get(1..) != Some(&[(height * width) as i64, self.conv.channels() as i64]) {
            return Err(Error::new(format!(
                "tokens are {shape}, not of a grid of {height}×{width}"
            )));
        }
        let mut convolved = tensors::output(context, 0, shape)?;
        let mut normalized = tensors::output(context, 1, shape)?;
        if tokens.is_empty() {
            return Ok(());
        }
        let convolved = convolved
            .try_extract_tensor_mut::<f32>()?
            .1
            .chunks_exact_mut(row_len);
        let normalized = normalized
            .try_extract_tensor_mut::<f32>()?
            .1
            .chunks_exact_mut(row_len);
        let rows = convolved
            .zip(normalized)
            .enumerate()
            .map(|(row, (convolved, normalized))| Row {
                kernel: self,
                image: &tokens[row / height * height * row_len..][..height * row_len],
                y: row % height,
                convolved,
                normalized,
            });
        parallel::for_each(context, rows, |row| self.arch.dispatch(row))
    }
}

/// The work of a row of an image.
struct Row<'a> {
    kernel: &'a DepthwiseConvLayerNorm,
    /// `[height, width, channels]`.
    image: &'a [f32],
    y: usize,
    /// `[width, channels]`, as is `normalized`.
    convolved: &'a mut [f32],
    normalized: &'a mut [f32],
}

impl WithSimd for Row<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let whole_blocks = self.kernel.conv.width() / BLOCK * BLOCK;
        for x in (0..whole_blocks).step_by(BLOCK) {
            self.pixels::<S, BLOCK, { BLOCK + 2 }>(simd, x);
        }
        for x in whole_blocks..self.kernel.conv.width() {
            self.pixels::<S, 1, 3>(simd, x);
        }
    }
}

impl Row<'_> {
    /// Computes `N` pixels from `x` on.
    #[inline(always)]
    fn pixels<S: Simd, const N: usize, const N_AND_BORDER: usize>(&mut self, simd: S, x: usize) {
        let DepthwiseConvLayerNorm { conv, norm, .. } = self.kernel;
        let channels = conv.channels();
        let span = x * channels..(x + N) * channels;
        let convolved = &mut self.convolved[span.clone()];
        let sums = conv.pixels::<S, N, N_AND_BORDER>(simd, self.image, (x, self.y), convolved);
        let pixels = convolved
            .chunks_exact(channels)
            .zip(self.normalized[span].chunks_exact_mut(channels));
        for ((convolved, normalized), sum) in pixels.zip(sums) {
            norm.apply(simd, convolved, sum, normalized);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::reference::{assert_close, noise};
    use super::*;

    /// Computes an image by definition in 64 bits.
    fn reference(
        kernel: &DepthwiseConvLayerNorm,
        weight: &[f32],
        bias: &[f32],
        image: &[f32],
    ) -> [Vec<f64>; 2] {
        let [height, width] = kernel.grid;
        let channels = bias.len();
        let (mut convolved, mut normalized) = (Vec::new(), Vec::new());
        for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
            let pixel: Vec<f64> = (0..channels)
                .map(|c| {
                    let taps = (0..3).flat_map(|dy| (0..3).map(move |dx| (dy, dx)));
                    let products = taps.filter_map(|(dy, dx)| {
                        let (y, x) = ((y + dy).checked_sub(1)?, (x + dx).checked_sub(1)?);
                        let inside = y < height && x < width;
                        let value = inside.then(|| image[(y * width + x) * channels + c])?;
                        Some(f64::from(value) * f64::from(weight[c * 9 + dy * 3 + dx]))
                    });
                    f64::from(bias[c]) + products.sum::<f64>()
                })
                .collect();
            let mean = pixel.iter().sum::<f64>() / channels as f64;
            let variance = pixel.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / channels as f64;
            let deviation = (variance + f64::from(kernel.norm.epsilon)).sqrt();
            let parameters = kernel.norm.scale.iter().zip(&kernel.norm.shift);
            normalized.extend(
                pixel.iter().zip(parameters).map(|(x, (&scale, &shift))| {
                    (x - mean) / deviation * f64::from(scale) + f64::from(shift)
                }),
            );
            convolved.extend(pixel);
        }
        [convolved, normalized]
    }

    /// Creates a kernel of weight, bias, scale and shift.
    fn kernel(
        arch: Arch,
        grid: [usize; 2],
        [weight, bias, scale, shift]: [&Vec<f32>; 4],
    ) -> DepthwiseConvLayerNorm {
        DepthwiseConvLayerNorm {
            arch,
            grid,
            conv: DepthwiseConv::new(grid, weight, bias.clone()),
            norm: LayerNorm {
                scale: scale.clone(),
                shift: shift.clone(),
                epsilon: 1e-5,
            },
        }
    }

    fn compute(kernel: &DepthwiseConvLayerNorm, image: &[f32]) -> [Vec<f32>; 2] {
        let mut convolved = vec![f32::NAN; image.len()];
        let mut normalized = convolved.clone();
        let row_len = kernel.conv.width() * kernel.conv.channels();
        let rows = convolved
            .chunks_exact_mut(row_len)
            .zip(normalized.chunks_exact_mut(row_len));
        for (y, (convolved, normalized)) in rows.enumerate() {
            kernel.arch.dispatch(Row {
                kernel,
                image,
                y,
                convolved,
                normalized,
            });
        }
        [convolved, normalized]
    }

    #[test]
    fn any_size_is_computed_as_defined_with_vectors_and_without() {
        // Channels that no vector divides and widths that no block does; images of one row, column and pixel.
        let grids = [[1, 1], [1, 4], [5, 1], [2, 3], [3, 7], [4, 8], [6, 9]];
        for (grid, channels) in grids
            .into_iter()
            .flat_map(|grid| [5, 16, 21, 40, 64].map(|c| (grid, c)))
        {
            let [height, width] = grid;
            let (weight, bias) = (noise(channels * 9, 1), noise(channels, 2));
            let image = noise(height * width * channels, 5);
            for arch in [Arch::new(), Arch::Scalar] {
                let parameters = [&weight, &bias, &noise(channels, 3), &noise(channels, 4)];
                let kernel = kernel(arch, grid, parameters);
                let [convolved, normalized] = compute(&kernel, &image);
                let case = format!("{height}×{width}×{channels}, {arch:?}");
                let [expected_convolved, expected_normalized] = reference(&kernel, &weight, &bias, &image);
                assert_close(
                    &convolved,
                    &expected_convolved,
                    1e-6,
                    &format!("{case}, convolved"),
                );
                assert_close(
                    &normalized,
                    &expected_normalized,
                    1e-6,
                    &format!("{case}, normalized"),
                );
            }
        }
    }

    #[test]
    fn nan_is_propagated() {
        let grid = [2, 5];
        let nans = [f32::NAN, f32::INFINITY, f32::from_bits(0xffff_ffff)];
        // Channels of whole vectors, and of a part of one; a pixel of a block, and the last.
        for (channels, channel, pixel) in [(32, 3, 1), (21, 20, 9)] {
            for (which, nan) in (0..5).flat_map(|which| nans.map(|nan| (which, nan))) {
                let sizes = [9 * channels, channels, channels, channels, 10 * channels];
                let mut inputs = sizes.map(|size| noise(size, size));
                let index = [
                    9 * channel + 4,
                    channel,
                    channel,
                    channel,
                    pixel * channels + channel,
                ];
                inputs[which][index[which]] = nan;
                let [weight, bias, scale, shift, image] = &inputs;
                for arch in [Arch::new(), Arch::Scalar] {
                    let kernel = kernel(arch, grid, [weight, bias, scale, shift]);
                    let [convolved, normalized] = compute(&kernel, image);
                    let at = pixel * channels + channel;
                    let what = format!("{nan} in input {which} of {channels} channels, {arch:?}");
                    assert!(!normalized[at].is_finite(), "{what}");
                    assert_eq!(convolved[at].is_finite(), [2, 3].contains(&which), "{what}");
                }
            }
        }
    }
}
