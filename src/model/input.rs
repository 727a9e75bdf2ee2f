//! The forms in which an image can be given.

use image::{DynamicImage, RgbImage};

use super::ImageFeatures;
use crate::preprocess::PixelValues;

/// An image, in any of the forms in which the engine takes one.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum ImageInput<'a> {
    /// An image in RGB, as [`load_image`](crate::load_image) returns it.
    Rgb(&'a RgbImage),
    /// An image of any pixel type. It is converted by [`to_rgb8`](crate::preprocess::to_rgb8); [`image::open`] does not rotate it by its EXIF
    /// orientation.
    Dynamic(&'a DynamicImage),
    /// The vision encoder's input, made by [`Florence2::image_processor`](crate::Florence2::image_processor), for example in
    /// another thread.
    Pixels(&'a PixelValues),
    /// The vision encoder's output, made by [`Florence2::encode_image`](crate::Florence2::encode_image): only text encoder
    /// and decoder run.
    Features(&'a ImageFeatures),
}

impl ImageInput<'_> {
    /// Returns the address of the referenced value, by which a batch recognizes the same image.
    pub(super) fn address(self) -> *const () {
        match self {
            ImageInput::Rgb(image) => std::ptr::from_ref(image).cast(),
            ImageInput::Dynamic(image) => std::ptr::from_ref(image).cast(),
            ImageInput::Pixels(pixels) => std::ptr::from_ref(pixels).cast(),
            ImageInput::Features(features) => std::ptr::from_ref(features).cast(),
        }
    }
}

macro_rules! image_input {
    ($($variant:ident: $type:ty),+) => {
        $(impl<'a> From<&'a $type> for ImageInput<'a> {
            fn from(image: &'a $type) -> Self {
                ImageInput::$variant(image)
            }
        })+
    };
}

image_input!(Rgb: RgbImage, Dynamic: DynamicImage, Pixels: PixelValues, Features: ImageFeatures);
