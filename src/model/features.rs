//! Image features: encoded once, used for any number of tasks.

use image::DynamicImage;
use ndarray::{Array2, ArrayView2, Axis};

use super::Florence2;
use crate::error::{Error, Result};
use crate::geometry::ImageSize;
use crate::metrics::Stopwatch;
use crate::options::RunOptions;
use crate::preprocess::{PixelValues, to_rgb8};

/// The vision encoder's output for an image. It takes far longer than a task's other stages, and serves any number of tasks on
/// the same image.
#[derive(Debug, Clone)]
pub struct ImageFeatures {
    pub(super) features: Array2<f32>,
    pub(super) size: ImageSize,
    pub(super) preprocess_seconds: f64,
    pub(super) vision_seconds: f64,
    pub(super) vision_runtime_seconds: f64,
}

impl ImageFeatures {
    /// Returns the features, `[image tokens, d_model]`.
    pub fn view(&self) -> ArrayView2<'_, f32> {
        self.features.view()
    }

    /// Returns the image's size in pixels before it was resized.
    pub fn image_size(&self) -> ImageSize {
        self.size
    }
}

impl Florence2 {
    /// Runs the vision encoder on an image.
    ///
    /// # Errors
    /// [`Error::ImageEmpty`] for an image without pixels; errors of ONNX Runtime.
    pub fn encode_image(&self, image: &DynamicImage) -> Result<ImageFeatures> {
        self.encode_image_with(image, &RunOptions::default())
    }

    /// Runs the vision encoder on an image, with the options' `cancel` and `deadline`.
    ///
    /// # Errors
    /// As [`encode_image`](Self::encode_image); [`Error::Cancelled`], [`Error::DeadlineExceeded`].
    pub fn encode_image_with(&self, image: &DynamicImage, options: &RunOptions) -> Result<ImageFeatures> {
        let preprocess = Stopwatch::default();
        let pixels = preprocess.time(|| self.image_processor.process(&to_rgb8(image)))?;
        let features = self.encode_pixels_with(&pixels, options)?;
        Ok(ImageFeatures {
            preprocess_seconds: preprocess.seconds(),
            ..features
        })
    }

    /// Runs the vision encoder on pixel values made by [`image_processor`](Self::image_processor), for example in another
    /// thread.
    ///
    /// # Errors
    /// Errors of ONNX Runtime.
    pub fn encode_pixels(&self, pixels: &PixelValues) -> Result<ImageFeatures> {
        self.encode_pixels_with(pixels, &RunOptions::default())
    }

    /// Runs the vision encoder on pixel values, with the options' `cancel` and `deadline`.
    ///
    /// # Errors
    /// As [`encode_pixels`](Self::encode_pixels); [`Error::Cancelled`], [`Error::DeadlineExceeded`].
    pub fn encode_pixels_with(&self, pixels: &PixelValues, options: &RunOptions) -> Result<ImageFeatures> {
        if let Some(interruption) = options.interruption() {
            return Err(interruption);
        }
        let (vision, runtime) = (Stopwatch::default(), Stopwatch::default());
        let cancel = options.cancel.as_ref();
        let features = vision.time(|| self.vision.run(pixels.view(), cancel, &runtime))?;
        let shape = features.dim();
        if shape.0 != 1 {
            return Err(Error::InvalidGraph {
                graph: "vision_encoder".into(),
                reason: format!("it returned image features of shape {shape:?} for one image"),
            });
        }
        Ok(ImageFeatures {
            features: features.index_axis_move(Axis(0), 0),
            size: pixels.original_size(),
            preprocess_seconds: 0.0,
            vision_seconds: vision.seconds(),
            vision_runtime_seconds: runtime.seconds(),
        })
    }
}
