//! Pillow's resize of 8-bit RGB, to the last bit.
//!
//! The arithmetic is that of `Resample.c` in Pillow 12: weights in fixed point, one axis after the other, rounded to
//! 8 bits in between, so the order of the two passes matters.

use image::RgbImage;
use rayon::prelude::*;

use super::filter::{PRECISION_BITS, Resample, Weights};
use crate::error::{Error, Result};
use crate::geometry::ImageSize;

const CHANNELS: usize = 3;
const HALF: i32 = 1 << (PRECISION_BITS - 1);

/// Rows that the horizontal pass takes at once. Its sums then run across rows, over `CHANNELS * LANES` adjacent
/// values that all have the same weight, which compilers turn into vector instructions.
const LANES: usize = 16;
/// Rows longer than this, in pixels, are taken one by one: interleaved, a panorama of a few rows would need many
/// times its own memory.
const LONGEST_INTERLEAVED: u32 = 1 << 17;

/// `image` at another size, as `PIL.Image.resize` gives it; the aspect ratio is not kept.
///
/// # Errors
/// [`Error::ImageEmpty`] if a side of the picture or of `size` is 0.
pub fn resize(image: &RgbImage, size: ImageSize, resample: Resample) -> Result<RgbImage> {
    let (width, height) = image.dimensions();
    for (width, height) in [(width, height), (size.width, size.height)] {
        if width == 0 || height == 0 {
            return Err(Error::ImageEmpty { width, height });
        }
    }
    let Some(kernel) = resample.kernel() else {
        return Ok(nearest(image, size));
    };
    let along_x =
        |image: &RgbImage| horizontal(image, &Weights::new(kernel, width as usize, size.width as usize));
    let along_y = |image: &RgbImage| {
        vertical(
            image,
            &Weights::new(kernel, height as usize, size.height as usize),
        )
    };
    // An axis that keeps its length is not filtered at all. `Image.resize` takes extremely tall pictures by height
    // first.
    let tall = u64::from(height) > 100 * u64::from(width) && size.height < height;
    Ok(match (width == size.width, height == size.height) {
        (true, true) => image.clone(),
        (false, true) => along_x(image),
        (true, false) => along_y(image),
        (false, false) if tall => along_x(&along_y(image)),
        (false, false) => along_y(&along_x(image)),
    })
}

/// Filters each row.
fn horizontal(image: &RgbImage, weights: &Weights) -> RgbImage {
    if image.width() > LONGEST_INTERLEAVED {
        filter_rows::<1>(image, weights)
    } else {
        filter_rows::<LANES>(image, weights)
    }
}

/// Filters each row, `LANES` of them at once.
fn filter_rows<const LANES: usize>(image: &RgbImage, weights: &Weights) -> RgbImage {
    let input_row = image.width() as usize * CHANNELS;
    let output_row = weights.len() * CHANNELS;
    let mut output = RgbImage::new(weights.len() as u32, image.height());
    output
        .par_chunks_mut(output_row * LANES)
        .zip(image.par_chunks(input_row * LANES))
        .for_each_init(
            || vec![0; input_row * LANES],
            |columns, (output, input)| {
                interleave::<LANES>(input, input_row, columns);
                filter_columns::<LANES>(columns, weights, output, output_row);
            },
        );
    output
}

/// Up to `LANES` rows, turned: the values of all rows at one place lie side by side.
fn interleave<const LANES: usize>(rows: &[u8], row: usize, columns: &mut [u8]) {
    for (lane, values) in rows.chunks_exact(row).enumerate() {
        for (column, &value) in columns.chunks_exact_mut(LANES).zip(values) {
            column[lane] = value;
        }
    }
}

/// Filters interleaved rows, and puts them back in order.
fn filter_columns<const LANES: usize>(columns: &[u8], weights: &Weights, output: &mut [u8], row: usize) {
    for position in 0..weights.len() {
        let (first, weights) = weights.get(position);
        let mut sums = [[HALF; LANES]; CHANNELS];
        let sums = sums.as_flattened_mut();
        for (pixel, &weight) in columns.chunks_exact(CHANNELS * LANES).skip(first).zip(weights) {
            accumulate(sums, pixel, weight);
        }
        for (lane, values) in output.chunks_exact_mut(row).enumerate() {
            for (channel, value) in values
                .iter_mut()
                .skip(position * CHANNELS)
                .take(CHANNELS)
                .enumerate()
            {
                *value = clip8(sums[channel * LANES + lane]);
            }
        }
    }
}

/// Filters each column.
fn vertical(image: &RgbImage, weights: &Weights) -> RgbImage {
    let row = image.width() as usize * CHANNELS;
    let mut output = RgbImage::new(image.width(), weights.len() as u32);
    output.par_chunks_mut(row).enumerate().for_each_init(
        || vec![HALF; row],
        |sums, (position, output)| {
            let (first, weights) = weights.get(position);
            sums.fill(HALF);
            for (input, &weight) in image.chunks_exact(row).skip(first).zip(weights) {
                accumulate(sums, input, weight);
            }
            for (value, &sum) in output.iter_mut().zip(&*sums) {
                *value = clip8(sum);
            }
        },
    );
    output
}

#[inline(always)]
fn accumulate(sums: &mut [i32], values: &[u8], weight: i32) {
    for (sum, &value) in sums.iter_mut().zip(values) {
        *sum += i32::from(value) * weight;
    }
}

fn clip8(sum: i32) -> u8 {
    (sum >> PRECISION_BITS).clamp(0, 255) as u8
}

/// `ImagingScaleAffine`: the input position is advanced by addition, as it is there, so that rounding agrees.
fn nearest(image: &RgbImage, size: ImageSize) -> RgbImage {
    let positions = |input: u32, output: u32| {
        let scale = f64::from(input) / f64::from(output);
        let steps = std::iter::successors(Some(scale * 0.5), move |at| Some(at + scale));
        steps.take(output as usize).map(|at| at as u32)
    };
    let columns: Vec<u32> = positions(image.width(), size.width).collect();
    let mut output = RgbImage::new(size.width, size.height);
    for (row, y) in output.rows_mut().zip(positions(image.height(), size.height)) {
        for (pixel, &x) in row.zip(&columns) {
            if let Some(from) = image.get_pixel_checked(x, y) {
                *pixel = *from;
            }
        }
    }
    output
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_taken_one_by_one_are_the_same() {
        let image = RgbImage::from_fn(301, 37, |x, y| {
            image::Rgb([x, y, x * y].map(|value| (value * 89 % 256) as u8))
        });
        for resample in [Resample::Bicubic, Resample::Lanczos] {
            let weights = Weights::new(resample.kernel().unwrap(), 301, 48);
            assert_eq!(
                filter_rows::<1>(&image, &weights),
                filter_rows::<LANES>(&image, &weights)
            );
        }
    }
}
