//! The image processor: what it does to a picture, and what comes out.

use std::borrow::Cow;

use image::{RgbImage, imageops};
use ndarray::{Array4, ArrayView4};
use rayon::prelude::*;

use super::filter::Resample;
use super::resample::CHANNELS;
use super::resize::{Resize, resize};
use crate::error::{Error, Result};
use crate::geometry::ImageSize;

/// Makes pictures into the vision encoder's input: resize, centre crop, rescale, normalise, each as
/// `CLIPImageProcessorPil` of transformers does it and each optional.
///
/// The default is Florence-2's: 768 × 768, bicubic, no crop, 1/255, ImageNet's mean and standard deviation.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ImageProcessor {
    /// The size to resize to, aspect ratio not kept; `None` leaves the picture as large as it is.
    pub size: Option<ImageSize>,
    /// How to resize.
    pub resample: Resample,
    /// The size to cut out of the middle after resizing (filled up with black where the picture is smaller), if any.
    pub crop_size: Option<ImageSize>,
    /// What 0..=255 is multiplied by, if by anything.
    pub rescale_factor: Option<f64>,
    /// What is then taken off each channel, and what it is then divided by, if anything.
    pub normalization: Option<Normalization>,
}

/// Mean and standard deviation of red, green and blue, on the scale that rescaling gives.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Normalization {
    /// Taken off.
    pub mean: [f32; CHANNELS],
    /// Divided by.
    pub std: [f32; CHANNELS],
}

/// The mean and standard deviation of ImageNet's pictures, `IMAGENET_DEFAULT_MEAN` and `..._STD` of transformers.
impl Default for Normalization {
    fn default() -> Self {
        Self {
            mean: [0.485, 0.456, 0.406],
            std: [0.229, 0.224, 0.225],
        }
    }
}

impl Default for ImageProcessor {
    fn default() -> Self {
        Self {
            size: Some(ImageSize::new(768, 768)),
            resample: Resample::Bicubic,
            crop_size: None,
            rescale_factor: Some(1.0 / 255.0),
            normalization: Some(Normalization::default()),
        }
    }
}

/// One picture, ready for the vision encoder.
#[derive(Debug, Clone, PartialEq)]
pub struct PixelValues {
    values: Array4<f32>,
    original_size: ImageSize,
}

impl PixelValues {
    /// The values, `[1, 3, height, width]`, channels in the order red, green, blue.
    pub fn view(&self) -> ArrayView4<'_, f32> {
        self.values.view()
    }

    /// The values, `[1, 3, height, width]`, without a copy.
    pub fn into_array(self) -> Array4<f32> {
        self.values
    }

    /// The size of the picture before it was resized: what answers are scaled to.
    pub fn original_size(&self) -> ImageSize {
        self.original_size
    }
}

impl ImageProcessor {
    /// Prepares one picture.
    ///
    /// # Errors
    /// [`Error::ImageEmpty`] if a side of the picture is 0.
    pub fn process(&self, image: &RgbImage) -> Result<PixelValues> {
        let (width, height) = image.dimensions();
        if width == 0 || height == 0 {
            return Err(Error::ImageEmpty { width, height });
        }
        let cropped;
        let resize = match (self.size, self.crop_size) {
            (Some(size), None) => Resize::new(image, size, self.resample)?,
            (None, None) => Resize::none(Cow::Borrowed(image)),
            (Some(size), Some(crop_size)) => {
                cropped = center_crop(&resize(image, size, self.resample)?, crop_size);
                Resize::none(Cow::Borrowed(&cropped))
            }
            (None, Some(crop_size)) => Resize::none(Cow::Owned(center_crop(image, crop_size))),
        };
        Ok(PixelValues {
            values: self.normalize(&resize),
            original_size: ImageSize::new(width, height),
        })
    }

    /// Prepares pictures, side by side on rayon's threads; the answers are in the order of the pictures.
    ///
    /// # Errors
    /// [`Error::ImageEmpty`] if a side of any of them is 0.
    pub fn process_batch(&self, images: &[RgbImage]) -> Result<Vec<PixelValues>> {
        images.par_iter().map(|image| self.process(image)).collect()
    }

    /// `[1, 3, height, width]` from the rows of a resize, as they are made.
    fn normalize(&self, resize: &Resize<'_>) -> Array4<f32> {
        let (width, height) = resize.size();
        let [red, green, blue] = self.tables();
        let mut values = Array4::zeros((1, CHANNELS, height, width));
        if let Some(values) = values.as_slice_mut() {
            let band = (resize.band() * width).max(1);
            let (reds, rest) = values.split_at_mut(height * width);
            let (greens, blues) = rest.split_at_mut(height * width);
            let bands = (
                reds.par_chunks_mut(band),
                greens.par_chunks_mut(band),
                blues.par_chunks_mut(band),
            );
            resize.for_each_row(bands.into_par_iter(), |(reds, greens, blues), row, pixels| {
                let (pixels, _) = pixels.as_chunks::<CHANNELS>();
                let to = [reds, greens, blues].map(|plane| plane.chunks_exact_mut(width).nth(row));
                let [Some(reds), Some(greens), Some(blues)] = to else {
                    return;
                };
                let to = reds.iter_mut().zip(greens).zip(blues);
                for (&[r, g, b], ((to_red, to_green), to_blue)) in pixels.iter().zip(to) {
                    *to_red = red[usize::from(r)];
                    *to_green = green[usize::from(g)];
                    *to_blue = blue[usize::from(b)];
                }
            });
        }
        values
    }

    /// What becomes of each of the 256 levels of each channel: in f64 as far as rescaling goes, then in f32, as NumPy
    /// has it in transformers.
    fn tables(&self) -> [[f32; 256]; CHANNELS] {
        let Normalization { mean, std } = self.normalization.unwrap_or(Normalization {
            mean: [0.0; CHANNELS],
            std: [1.0; CHANNELS],
        });
        let factor = self.rescale_factor.unwrap_or(1.0);
        std::array::from_fn(|channel| {
            std::array::from_fn(|level| ((level as f64 * factor) as f32 - mean[channel]) / std[channel])
        })
    }
}

/// `center_crop` of transformers: the middle of the picture, black where the picture is smaller.
fn center_crop(image: &RgbImage, size: ImageSize) -> RgbImage {
    let (width, height) = image.dimensions();
    let middle = imageops::crop_imm(
        image,
        width.saturating_sub(size.width) / 2,
        height.saturating_sub(size.height) / 2,
        width.min(size.width),
        height.min(size.height),
    );
    let left = size.width.saturating_sub(width).div_ceil(2);
    let top = size.height.saturating_sub(height).div_ceil(2);
    let mut cropped = RgbImage::new(size.width, size.height);
    imageops::replace(&mut cropped, &*middle, i64::from(left), i64::from(top));
    cropped
}
