//! The vision encoder's input.

use std::path::Path;

use ndarray::{Array4, ArrayView4};

use super::processor::ImageProcessor;
use super::resample::CHANNELS;
use crate::error::{Error, Result};
use crate::geometry::ImageSize;
use crate::tensor_file::{self, Facts};

/// The pixel values of one image, the vision encoder's input.
///
/// They can be [saved](Self::save), and used by another process with a model that prepares images in the same way; other
/// models refuse them.
#[derive(Debug, Clone, PartialEq)]
pub struct PixelValues {
    pub(super) values: Array4<f32>,
    pub(super) original_size: ImageSize,
    /// The settings of the image processor that made the values; `None` if they were made elsewhere.
    pub(super) processor: Option<String>,
}

/// The name of the saved tensor.
const NAME: &str = "pixel_values";

impl PixelValues {
    /// Returns pixel values made elsewhere, `[1, 3, height, width]`, of an image of `original_size` pixels.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] if they have another shape.
    pub fn new(values: Array4<f32>, original_size: ImageSize) -> Result<Self> {
        Self::checked(values, original_size, None)
    }

    fn checked(values: Array4<f32>, original_size: ImageSize, processor: Option<String>) -> Result<Self> {
        let shape = values.dim();
        if !matches!(shape, (1, CHANNELS, 1.., 1..)) || original_size.width == 0 || original_size.height == 0
        {
            return Err(Error::InvalidOption {
                name: NAME,
                reason: format!(
                    "have shape {shape:?}, of an image of {}x{} pixels; they must be of one image: [1, 3, height, width]",
                    original_size.width, original_size.height
                ),
            });
        }
        Ok(Self {
            values,
            original_size,
            processor,
        })
    }

    /// Returns the values as a safetensors file: the tensor `pixel_values`, with the image's size and the image processor's
    /// settings as metadata.
    ///
    /// # Errors
    /// [`Error::InvalidTensorFile`] in no known case.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let facts = Facts {
            image_size: self.original_size,
            fingerprint: self.processor.clone(),
        };
        tensor_file::to_bytes(NAME, &self.values, &facts)
    }

    /// Reads pixel values from the bytes of [`to_bytes`](Self::to_bytes).
    ///
    /// # Errors
    /// [`Error::InvalidTensorFile`] if `bytes` are something else, or damaged.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let saved = tensor_file::from_bytes(NAME, bytes)?;
        let shape = saved.shape.as_slice().try_into().unwrap_or([0; 4]);
        let invalid = |error: &dyn std::fmt::Display| tensor_file::invalid(NAME, error.to_string());
        let values = Array4::from_shape_vec(shape, saved.values).map_err(|error| invalid(&error))?;
        Self::checked(values, saved.facts.image_size, saved.facts.fingerprint)
            .map_err(|error| invalid(&error))
    }

    /// Writes the bytes of [`to_bytes`](Self::to_bytes) to a file.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        tensor_file::save(path.as_ref(), &self.to_bytes()?)
    }

    /// Reads pixel values from a file that [`save`](Self::save) wrote.
    ///
    /// # Errors
    /// As [`from_bytes`](Self::from_bytes); [`Error::Io`].
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        Self::from_bytes(&tensor_file::load(path.as_ref())?)
    }

    /// Checks that `processor` would have made these values of their image, but for the backend's rounding.
    pub(crate) fn check_processor(&self, processor: &ImageProcessor) -> Result<()> {
        let expected = processor.settings();
        match &self.processor {
            Some(found) if *found != expected => Err(Error::OtherModel {
                what: "pixel values",
                found: found.clone(),
                expected,
            }),
            _ => Ok(()),
        }
    }

    /// Returns the values, `[1, 3, height, width]`, with channels red, green, blue.
    pub fn view(&self) -> ArrayView4<'_, f32> {
        self.values.view()
    }

    /// Converts to an array, `[1, 3, height, width]`, without a copy.
    pub fn into_array(self) -> Array4<f32> {
        self.values
    }

    /// Returns the image's size before it was resized: the space of an answer's coordinates.
    pub fn original_size(&self) -> ImageSize {
        self.original_size
    }
}
