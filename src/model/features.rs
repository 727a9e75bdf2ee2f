//! Image features: encoded once, used for any number of tasks.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use image::RgbImage;
use ndarray::{Array2, ArrayView2, Axis};

use super::Florence2;
use super::fingerprint::VisionIdentity;
use super::input::ImageInput;
use crate::error::{Error, Result};
use crate::geometry::ImageSize;
use crate::metrics::Stopwatch;
use crate::options::RunOptions;
use crate::preprocess::{PixelValues, to_rgb8};
use crate::tensor_file::{self, Facts};

/// The name of the saved tensor.
const NAME: &str = "image_features";

/// The vision encoder's output for an image. It takes far longer than a task's other stages, and serves any number of tasks on
/// the same image.
///
/// Features can be [saved](Self::save) and used by another process that loads the same vision encoder: the same file, of the
/// same dtype. Other models refuse them.
///
/// ```no_run
/// # fn main() -> florence2::Result<()> {
/// # let model = florence2::Florence2::from_pretrained("DIR", Default::default())?;
/// # let image = florence2::load_image("street.jpg")?;
/// use florence2::{ImageFeatures, Task};
///
/// model.encode_image(&image)?.save("street.safetensors")?;
///
/// let features = ImageFeatures::load("street.safetensors")?;
/// let caption = model.run(&features, &Task::Caption)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct ImageFeatures {
    pub(super) features: Array2<f32>,
    pub(super) size: ImageSize,
    origin: Origin,
    pub(super) preprocess_seconds: f64,
    pub(super) vision_seconds: f64,
    pub(super) vision_runtime_seconds: f64,
}

/// The vision encoder that made features.
#[derive(Debug, Clone)]
enum Origin {
    /// One that was loaded in this process.
    Loaded(Arc<VisionIdentity>),
    /// The one with this fingerprint.
    Saved(String),
}

impl Origin {
    fn fingerprint(&self) -> Result<&str> {
        match self {
            Origin::Loaded(identity) => identity.fingerprint(),
            Origin::Saved(fingerprint) => Ok(fingerprint),
        }
    }
}

impl ImageFeatures {
    fn new(features: Array2<f32>, size: ImageSize, origin: Origin) -> Self {
        Self {
            features,
            size,
            origin,
            preprocess_seconds: 0.0,
            vision_seconds: 0.0,
            vision_runtime_seconds: 0.0,
        }
    }

    /// Returns the features, `[image tokens, d_model]`.
    pub fn view(&self) -> ArrayView2<'_, f32> {
        self.features.view()
    }

    /// Returns the image's size in pixels before it was resized.
    pub fn image_size(&self) -> ImageSize {
        self.size
    }

    /// Returns the features as a safetensors file: the tensor `image_features`, with the image's size and the
    /// [fingerprint](Florence2::fingerprint) of the vision encoder as metadata.
    ///
    /// # Errors
    /// As [`Florence2::fingerprint`].
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let facts = Facts {
            image_size: self.size,
            fingerprint: Some(self.origin.fingerprint()?.to_owned()),
        };
        tensor_file::to_bytes(NAME, &self.features, &facts)
    }

    /// Reads features from the bytes of [`to_bytes`](Self::to_bytes).
    ///
    /// # Errors
    /// [`Error::InvalidTensorFile`] if `bytes` are something else, or damaged.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let saved = tensor_file::from_bytes(NAME, bytes)?;
        let invalid = |reason: &str| tensor_file::invalid(NAME, reason.to_owned());
        let &[tokens, width] = saved.shape.as_slice() else {
            return Err(invalid("its shape is not [image tokens, d_model]"));
        };
        if saved.facts.image_size.width == 0 || saved.facts.image_size.height == 0 {
            return Err(invalid("its image has no pixels"));
        }
        let features = Array2::from_shape_vec((tokens, width), saved.values)
            .map_err(|error| tensor_file::invalid(NAME, error.to_string()))?;
        let fingerprint = saved
            .facts
            .fingerprint
            .ok_or_else(|| invalid("its metadata has no fingerprint"))?;
        Ok(Self::new(
            features,
            saved.facts.image_size,
            Origin::Saved(fingerprint),
        ))
    }

    /// Writes the bytes of [`to_bytes`](Self::to_bytes) to a file.
    ///
    /// # Errors
    /// As [`to_bytes`](Self::to_bytes); [`Error::Io`].
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        tensor_file::save(path.as_ref(), &self.to_bytes()?)
    }

    /// Reads features from a file that [`save`](Self::save) wrote.
    ///
    /// # Errors
    /// As [`from_bytes`](Self::from_bytes); [`Error::Io`].
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        Self::from_bytes(&tensor_file::load(path.as_ref())?)
    }
}

impl Florence2 {
    /// Runs the vision encoder on an image or pixel values. Features are returned as they are.
    ///
    /// # Errors
    /// [`Error::ImageEmpty`] for an image without pixels, [`Error::OtherModel`] for pixel values or features of another
    /// model; errors of ONNX Runtime.
    pub fn encode_image<'a>(&self, image: impl Into<ImageInput<'a>>) -> Result<ImageFeatures> {
        self.encode_image_with(image, &RunOptions::default())
    }

    /// Runs the vision encoder, with the options' `cancel` and `deadline`.
    ///
    /// # Errors
    /// As [`encode_image`](Self::encode_image); [`Error::Cancelled`], [`Error::DeadlineExceeded`].
    pub fn encode_image_with<'a>(
        &self,
        image: impl Into<ImageInput<'a>>,
        options: &RunOptions,
    ) -> Result<ImageFeatures> {
        Ok(self.features(image.into(), options)?.into_owned())
    }

    /// Returns features made elsewhere, `[image tokens, d_model]`, of an image of `image_size` pixels, for use with this
    /// model.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] if the width of `features` is not the model's, they have no tokens, or values that are not
    /// finite.
    pub fn image_features(&self, features: Array2<f32>, image_size: ImageSize) -> Result<ImageFeatures> {
        let invalid = |reason: String| Error::InvalidOption { name: NAME, reason };
        let (tokens, width) = features.dim();
        if let Some(d_model) = self.vision.d_model().filter(|&d_model| d_model != width) {
            return Err(invalid(format!(
                "have {width} values for each token; this model's have {d_model}"
            )));
        }
        if tokens == 0 || image_size.width == 0 || image_size.height == 0 {
            return Err(invalid("are of an empty image".into()));
        }
        if features.iter().any(|value| !value.is_finite()) {
            return Err(invalid("have NaN or infinity".into()));
        }
        Ok(ImageFeatures::new(features, image_size, self.origin()))
    }

    /// Returns the features of an image, encoded if they are not yet.
    pub(super) fn features<'a>(
        &self,
        image: ImageInput<'a>,
        options: &RunOptions,
    ) -> Result<Cow<'a, ImageFeatures>> {
        if let Some(interruption) = options.interruption() {
            return Err(interruption);
        }
        match image {
            ImageInput::Rgb(image) => self.encode_rgb(image, options),
            ImageInput::Dynamic(image) => self.encode_rgb(&to_rgb8(image), options),
            ImageInput::Pixels(pixels) => self.encode_pixels(pixels, options),
            ImageInput::Features(features) => {
                self.check_origin(features)?;
                return Ok(Cow::Borrowed(features));
            }
        }
        .map(Cow::Owned)
    }

    fn encode_rgb(&self, image: &RgbImage, options: &RunOptions) -> Result<ImageFeatures> {
        let preprocess = Stopwatch::default();
        let pixels = preprocess.time(|| self.image_processor.process(image))?;
        let features = self.encode_pixels(&pixels, options)?;
        Ok(ImageFeatures {
            preprocess_seconds: preprocess.seconds(),
            ..features
        })
    }

    fn encode_pixels(&self, pixels: &PixelValues, options: &RunOptions) -> Result<ImageFeatures> {
        pixels.check_processor(&self.image_processor)?;
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
            vision_seconds: vision.seconds(),
            vision_runtime_seconds: runtime.seconds(),
            ..ImageFeatures::new(
                features.index_axis_move(Axis(0), 0),
                pixels.original_size(),
                self.origin(),
            )
        })
    }

    fn origin(&self) -> Origin {
        Origin::Loaded(self.vision.identity().clone())
    }

    /// Checks that features are of this model's vision encoder.
    fn check_origin(&self, features: &ImageFeatures) -> Result<()> {
        let identity = self.vision.identity();
        if matches!(&features.origin, Origin::Loaded(origin) if Arc::ptr_eq(origin, identity)) {
            return Ok(());
        }
        let (found, expected) = (features.origin.fingerprint()?, identity.fingerprint()?);
        if found == expected {
            return Ok(());
        }
        Err(Error::OtherModel {
            what: "image features",
            found: found.to_owned(),
            expected: expected.to_owned(),
        })
    }
}
