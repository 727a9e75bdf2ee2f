//! The image processor.

use std::borrow::Cow;

use florence2_layout::setters;
use image::{RgbImage, imageops};
use ndarray::Array4;
use rayon::prelude::*;

use super::backend::ImageBackend;
use super::filter::Resample;
use super::pixel_values::PixelValues;
use super::resample::CHANNELS;
use super::resize::{Resize, resize};
use crate::error::{Error, Result};
use crate::geometry::ImageSize;

/// Turns images into the vision encoder's input: resize, centre crop, rescale and normalize, each optional, as the CLIP
/// image processor of transformers for the [`backend`](Self::backend) does.
///
/// The default is Florence-2's: 768 × 768, bicubic, no crop, 1/255, ImageNet's mean and standard deviation.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ImageProcessor {
    /// The size to resize to, without keeping the aspect ratio; `None` does not resize.
    pub size: Option<ImageSize>,
    /// The resampling filter.
    pub resample: Resample,
    /// The size to crop to around the centre after resizing (padded with black if the image is smaller), if any.
    pub crop_size: Option<ImageSize>,
    /// The factor that multiplies the values 0..=255; `None` does not rescale.
    pub rescale_factor: Option<f64>,
    /// The mean and standard deviation to normalize by; `None` does not normalize.
    pub normalization: Option<Normalization>,
    /// The image library whose arithmetic is reproduced.
    pub backend: ImageBackend,
}

/// Mean and standard deviation of red, green and blue, on the scale of rescaled values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Normalization {
    /// The mean of each channel, which is subtracted.
    pub mean: [f32; CHANNELS],
    /// The standard deviation of each channel, by which it is divided.
    pub std: [f32; CHANNELS],
}

/// The mean and standard deviation of ImageNet, `IMAGENET_DEFAULT_MEAN` and `..._STD` of transformers.
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
            backend: ImageBackend::default(),
        }
    }
}

setters! { ImageProcessor {
    with_size(size: impl Into<Option<ImageSize>>) = size.into();
    with_resample(resample: Resample);
    with_crop_size(crop_size: impl Into<Option<ImageSize>>) = crop_size.into();
    with_rescale_factor(rescale_factor: impl Into<Option<f64>>) = rescale_factor.into();
    with_normalization(normalization: impl Into<Option<Normalization>>) = normalization.into();
    with_backend(backend: ImageBackend);
}}

impl ImageProcessor {
    /// Prepares one image.
    ///
    /// # Errors
    /// [`Error::ImageEmpty`] if a side of the image is 0; [`Error::InvalidOption`] if the backend does not support the filter.
    pub fn process(&self, image: &RgbImage) -> Result<PixelValues> {
        let (width, height) = image.dimensions();
        if width == 0 || height == 0 {
            return Err(Error::ImageEmpty { width, height });
        }
        let cropped;
        let resize = match (self.size, self.crop_size) {
            (Some(size), None) => Resize::new(image, size, self.resample, self.backend)?,
            (None, None) => Resize::none(Cow::Borrowed(image)),
            (Some(size), Some(crop_size)) => {
                let resized = resize(image, size, self.resample, self.backend)?;
                cropped = center_crop(&resized, crop_size, self.backend);
                Resize::none(Cow::Borrowed(&cropped))
            }
            (None, Some(crop_size)) => Resize::none(Cow::Owned(center_crop(image, crop_size, self.backend))),
        };
        Ok(PixelValues {
            values: self.normalize(&resize),
            original_size: ImageSize::new(width, height),
            processor: Some(self.settings()),
        })
    }

    /// Returns all settings but the backend, in text that identifies them.
    pub(super) fn settings(&self) -> String {
        let size = |size: Option<ImageSize>| size.map(|size| [size.width, size.height]);
        serde_json::json!({
            "size": size(self.size),
            "resample": format!("{:?}", self.resample),
            "crop_size": size(self.crop_size),
            "rescale_factor": self.rescale_factor,
            "mean": self.normalization.map(|normalization| normalization.mean),
            "std": self.normalization.map(|normalization| normalization.std),
        })
        .to_string()
    }

    /// Prepares images in parallel on rayon's threads; the results are in the order of the images.
    ///
    /// # Errors
    /// Errors of [`process`](Self::process), for any of them.
    pub fn process_batch(&self, images: &[RgbImage]) -> Result<Vec<PixelValues>> {
        images.par_iter().map(|image| self.process(image)).collect()
    }

    /// Computes `[1, 3, height, width]` from the rows of a resize as they are produced.
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

    /// Returns the value of each of the 256 levels of each channel.
    fn tables(&self) -> [[f32; 256]; CHANNELS] {
        let factor = self.rescale_factor.unwrap_or(1.0);
        let Some(Normalization { mean, std }) = self.normalization else {
            let table = std::array::from_fn(|level| match self.backend {
                ImageBackend::Pillow => (level as f64 * factor) as f32,
                ImageBackend::Torchvision => level as f32 * factor as f32,
            });
            return [table; CHANNELS];
        };
        std::array::from_fn(|channel| {
            let (mean, std) = (mean[channel], std[channel]);
            std::array::from_fn(|level| match self.backend {
                // NumPy rescales in f64 and normalizes in f32.
                ImageBackend::Pillow => ((level as f64 * factor) as f32 - mean) / std,
                // torchvision computes in f32, with the factor moved to mean and standard deviation.
                ImageBackend::Torchvision => {
                    let inverse = (1.0 / factor) as f32;
                    (level as f32 - mean * inverse) / (std * inverse)
                }
            })
        })
    }
}

/// Crops to the image's centre, padded with black if the image is smaller: `center_crop` of transformers.
fn center_crop(image: &RgbImage, size: ImageSize, backend: ImageBackend) -> RgbImage {
    let (width, height) = image.dimensions();
    let middle = imageops::crop_imm(
        image,
        width.saturating_sub(size.width) / 2,
        height.saturating_sub(size.height) / 2,
        width.min(size.width),
        height.min(size.height),
    );
    let half = |missing: u32| match backend {
        ImageBackend::Pillow => missing.div_ceil(2),
        ImageBackend::Torchvision => missing / 2,
    };
    let left = half(size.width.saturating_sub(width));
    let top = half(size.height.saturating_sub(height));
    let mut cropped = RgbImage::new(size.width, size.height);
    imageops::replace(&mut cropped, &*middle, i64::from(left), i64::from(top));
    cropped
}
