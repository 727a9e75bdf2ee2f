//! An image as the model sees it, kept for as many tasks as one likes.

use image::DynamicImage;
use ndarray::{Array2, ArrayView2, Axis};

use super::Florence2;
use crate::error::{Error, Result};
use crate::geometry::ImageSize;
use crate::metrics::timed;
use crate::options::RunOptions;
use crate::preprocess::{PixelValues, to_rgb8};

/// What the vision encoder makes of an image. It costs far more than a task's other stages, and serves any number
/// of tasks on the same image.
#[derive(Debug, Clone)]
pub struct ImageFeatures {
    pub(super) features: Array2<f32>,
    pub(super) size: ImageSize,
    pub(super) preprocess_seconds: f64,
    pub(super) vision_seconds: f64,
    pub(super) vision_runtime_seconds: f64,
}

impl ImageFeatures {
    /// The features: `[image tokens, d_model]`.
    pub fn view(&self) -> ArrayView2<'_, f32> {
        self.features.view()
    }

    /// The original image's size.
    pub fn image_size(&self) -> ImageSize {
        self.size
    }
}

impl Florence2 {
    /// Runs the vision encoder on an image.
    ///
    /// # Errors
    /// [`Error::ImageEmpty`] for an image without pixels, and what ONNX Runtime reports.
    pub fn encode_image(&self, image: &DynamicImage) -> Result<ImageFeatures> {
        self.encode_image_with(image, &RunOptions::default())
    }

    /// [`encode_image`](Self::encode_image), which may be called off or take too long: of the options, `cancel` and
    /// `deadline` count.
    ///
    /// # Errors
    /// As [`encode_image`](Self::encode_image); [`Error::Cancelled`], [`Error::DeadlineExceeded`].
    pub fn encode_image_with(&self, image: &DynamicImage, options: &RunOptions) -> Result<ImageFeatures> {
        let mut seconds = 0.0;
        let pixels = timed(&mut seconds, || self.image_processor.process(&to_rgb8(image)))?;
        let features = self.encode_pixels_with(&pixels, options)?;
        Ok(ImageFeatures {
            preprocess_seconds: seconds,
            ..features
        })
    }

    /// Runs the vision encoder on pixel values that [`image_processor`](Self::image_processor) has made (in another
    /// thread, say).
    ///
    /// # Errors
    /// What ONNX Runtime reports.
    pub fn encode_pixels(&self, pixels: &PixelValues) -> Result<ImageFeatures> {
        self.encode_pixels_with(pixels, &RunOptions::default())
    }

    /// [`encode_pixels`](Self::encode_pixels), as [`encode_image_with`](Self::encode_image_with).
    ///
    /// # Errors
    /// As [`encode_pixels`](Self::encode_pixels); [`Error::Cancelled`], [`Error::DeadlineExceeded`].
    pub fn encode_pixels_with(&self, pixels: &PixelValues, options: &RunOptions) -> Result<ImageFeatures> {
        if let Some(interruption) = options.interruption() {
            return Err(interruption);
        }
        let (mut seconds, mut runtime) = (0.0, 0.0);
        let cancel = options.cancel.as_ref();
        let features = timed(&mut seconds, || {
            self.vision.run(pixels.view(), cancel, &mut runtime)
        })?;
        let shape = features.dim();
        if shape.0 != 1 {
            return Err(Error::InvalidGraph {
                graph: "vision_encoder".into(),
                reason: format!("it gave image features of shape {shape:?} for one image"),
            });
        }
        Ok(ImageFeatures {
            features: features.index_axis_move(Axis(0), 0),
            size: pixels.original_size(),
            preprocess_seconds: 0.0,
            vision_seconds: seconds,
            vision_runtime_seconds: runtime,
        })
    }
}
