//! The image processor: what it does to a picture, and what comes out.

use image::{RgbImage, imageops};
use ndarray::{Array4, ArrayView4};
use rayon::prelude::*;

use super::filter::Resample;
use super::resize::resize;
use crate::error::{Error, Result};
use crate::geometry::ImageSize;

const CHANNELS: usize = 3;

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
        let resized = self
            .size
            .map(|size| resize(image, size, self.resample))
            .transpose()?;
        let image = resized.as_ref().unwrap_or(image);
        let cropped = self.crop_size.map(|size| center_crop(image, size));
        Ok(PixelValues {
            values: self.normalize(cropped.as_ref().unwrap_or(image)),
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

    /// `[1, 3, height, width]` from a picture.
    fn normalize(&self, image: &RgbImage) -> Array4<f32> {
        let (width, height) = (image.width() as usize, image.height() as usize);
        let tables = self.tables();
        let mut values = Array4::zeros((1, CHANNELS, height, width));
        if let Some(values) = values.as_slice_mut() {
            let rows = values.par_chunks_mut(width.max(1)).enumerate();
            rows.for_each(|(at, row)| {
                let (channel, y) = (at / height, at % height);
                let pixels = image.chunks_exact(CHANNELS).skip(y * width);
                for (value, pixel) in row.iter_mut().zip(pixels) {
                    *value = tables[channel][usize::from(pixel[channel])];
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
