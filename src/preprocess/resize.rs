//! Resize of 8-bit RGB images, bit-equal to the [`ImageBackend`]'s.
//!
//! The arithmetic is that of Pillow's `Resample.c`: fixed-point weights, one axis after the other, rounded to 8 bits in
//! between, so the order of the two passes matters. torch's, which torchvision calls, differs in the weights' precision, in
//! that order and in [`Resample::Nearest`].

use std::borrow::Cow;

use image::RgbImage;
use rayon::prelude::*;

use super::backend::ImageBackend;
use super::filter::{Resample, Weights};
use super::resample::{CHANNELS, RowFilter, filter_columns};
use crate::error::{Error, Result};
use crate::geometry::ImageSize;

/// Resizes `image` as `PIL.Image.resize` or torchvision's `resize` does, without keeping the aspect ratio.
///
/// # Errors
/// [`Error::ImageEmpty`] if a side of the image or of `size` is 0; [`Error::InvalidOption`] if the backend does not support
/// the filter.
pub fn resize(
    image: &RgbImage,
    size: ImageSize,
    resample: Resample,
    backend: ImageBackend,
) -> Result<RgbImage> {
    Ok(Resize::new(image, size, resample, backend)?.to_image())
}

/// A resize that computes rows when its caller asks for them.
pub(super) struct Resize<'a> {
    image: Cow<'a, RgbImage>,
    /// The horizontal pass; `None` if the width does not change.
    horizontal: Option<Weights>,
    /// The vertical pass; `None` if the height does not change.
    vertical: Option<Weights>,
}

impl<'a> Resize<'a> {
    /// Prepares a [`resize`].
    ///
    /// # Errors
    /// Errors of [`resize`].
    pub fn new(
        image: &'a RgbImage,
        size: ImageSize,
        resample: Resample,
        backend: ImageBackend,
    ) -> Result<Self> {
        let (from, to) = (image.dimensions(), (size.width, size.height));
        for (width, height) in [from, to] {
            if width == 0 || height == 0 {
                return Err(Error::ImageEmpty { width, height });
            }
        }
        if backend == ImageBackend::Torchvision && matches!(resample, Resample::Box | Resample::Hamming) {
            return Err(Error::InvalidOption {
                name: "resample",
                reason: format!(
                    "is {resample:?}, which torchvision does not support; the Pillow image backend does"
                ),
            });
        }
        let Some(kernel) = resample.kernel() else {
            return Ok(Self::none(Cow::Owned(nearest(image, size, backend))));
        };
        let weights = |from: u32, to: u32| {
            (from != to).then(|| Weights::new(kernel, from as usize, to as usize, backend))
        };
        let (horizontal, vertical) = (weights(from.0, to.0), weights(from.1, to.1));
        if backend.vertical_first(from, to) && horizontal.is_some() {
            let resized = Self {
                vertical,
                ..Self::none(Cow::Borrowed(image))
            };
            return Ok(Self {
                horizontal,
                ..Self::none(Cow::Owned(resized.to_image()))
            });
        }
        Ok(Self {
            image: Cow::Borrowed(image),
            horizontal,
            vertical,
        })
    }

    /// Returns a resize that leaves `image` unchanged.
    pub fn none(image: Cow<'a, RgbImage>) -> Self {
        Self {
            image,
            horizontal: None,
            vertical: None,
        }
    }

    /// Returns the width and height of the resized image, in pixels.
    pub fn size(&self) -> (usize, usize) {
        let side = |weights: &Option<Weights>, length| weights.as_ref().map_or(length as usize, Weights::len);
        (
            side(&self.horizontal, self.image.width()),
            side(&self.vertical, self.image.height()),
        )
    }

    /// Returns the rows per band: few enough to keep all threads busy to the end, many enough that neighbouring bands filter
    /// few input rows twice.
    pub fn band(&self) -> usize {
        const MIN: usize = 16;
        self.size().1.div_ceil(4 * rayon::current_num_threads()).max(MIN)
    }

    /// Computes all rows on rayon's threads, in bands of [`band`](Self::band) adjacent rows (the last may have
    /// fewer). `bands` has one element per band. `write` is called for each row with its band's element, the row's
    /// index in the band, and the row's RGB bytes.
    pub fn for_each_row<B: Send>(
        &self,
        bands: impl IndexedParallelIterator<Item = B>,
        write: impl Fn(&mut B, usize, &[u8]) + Sync,
    ) {
        let (width, height) = self.size();
        let band = self.band();
        bands
            .enumerate()
            .for_each_init(Buffers::default, |buffers, (index, mut to)| {
                let first = (index * band).min(height);
                let end = (first + band).min(height);
                buffers.row.resize(width * CHANNELS, 0);
                self.make_rows(first, end, buffers, |row, values| write(&mut to, row, values));
            });
    }

    fn make_rows(
        &self,
        first: usize,
        end: usize,
        buffers: &mut Buffers,
        mut write: impl FnMut(usize, &[u8]),
    ) {
        let row = buffers.row.len();
        let (first_needed, end_needed) = match &self.vertical {
            Some(weights) => (weights.first(first), weights.end(end.saturating_sub(1))),
            None => (first, end),
        };
        let image_row = self.image.width() as usize * CHANNELS;
        let needed = self.image.get(first_needed * image_row..end_needed * image_row);
        let mut rows = needed.unwrap_or_default();
        if let Some(weights) = &self.horizontal {
            buffers.filtered.resize((end_needed - first_needed) * row, 0);
            buffers
                .horizontal
                .filter(rows, image_row, weights, &mut buffers.filtered);
            rows = &buffers.filtered;
        }
        match &self.vertical {
            Some(weights) => {
                let bits = weights.precision_bits();
                for (index, (start, weights)) in weights.iter().take(end).skip(first).enumerate() {
                    let rows = rows.get((start - first_needed) * row..).unwrap_or_default();
                    filter_columns(rows, weights, bits, &mut buffers.row);
                    write(index, &buffers.row);
                }
            }
            None => rows
                .chunks_exact(row)
                .enumerate()
                .for_each(|(index, values)| write(index, values)),
        }
    }

    fn to_image(&self) -> RgbImage {
        let (width, height) = self.size();
        let row = width * CHANNELS;
        let mut output = RgbImage::new(width as u32, height as u32);
        let bands = output.par_chunks_mut(self.band() * row);
        self.for_each_row(bands, |band, index, values| {
            if let Some(to) = band.chunks_exact_mut(row).nth(index) {
                to.copy_from_slice(values);
            }
        });
        output
    }
}

/// A thread's buffers.
#[derive(Default)]
struct Buffers {
    horizontal: RowFilter,
    /// Rows after the horizontal pass.
    filtered: Vec<u8>,
    /// A row after both passes.
    row: Vec<u8>,
}

/// Resizes by [`Resample::Nearest`].
fn nearest(image: &RgbImage, size: ImageSize, backend: ImageBackend) -> RgbImage {
    let positions = match backend {
        ImageBackend::Pillow => pillow_nearest,
        ImageBackend::Torchvision => torch_nearest,
    };
    let columns = positions(image.width(), size.width);
    let rows = positions(image.height(), size.height);
    let mut output = RgbImage::new(size.width, size.height);
    for (row, y) in output.rows_mut().zip(rows) {
        for (pixel, &x) in row.zip(&columns) {
            if let Some(from) = image.get_pixel_checked(x, y) {
                *pixel = *from;
            }
        }
    }
    output
}

/// Returns the input position of each output position as Pillow's `ImagingScaleAffine` does: by repeated addition, so that
/// rounding agrees.
fn pillow_nearest(input: u32, output: u32) -> Vec<u32> {
    let scale = f64::from(input) / f64::from(output);
    let steps = std::iter::successors(Some(scale * 0.5), |at| Some(at + scale));
    steps.take(output as usize).map(|at| at as u32).collect()
}

/// Returns the input position of each output position as torch's `nearest-exact` does: the scale is in f32.
fn torch_nearest(input: u32, output: u32) -> Vec<u32> {
    let scale = f64::from(input as f32 / output as f32);
    let position = |at: u32| ((f64::from(at) + 0.5) * scale) as f32 as u32;
    (0..output).map(|at| position(at).min(input - 1)).collect()
}
