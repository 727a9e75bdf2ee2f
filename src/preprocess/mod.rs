//! Image preprocessing: from encoded images to the vision encoder's pixel values.
//!
//! [`load_image`] and [`decode_image`] read an image as Pillow does (`ImageOps.exif_transpose`, then
//! `convert("RGB")`); [`ImageProcessor`] resizes and normalizes it as transformers does with Pillow or torchvision, to the
//! last bit: [`ImageBackend`] has the versions.
//!
//! Differences from Pillow and transformers:
//! - JPEG: the decoder's arithmetic is not libjpeg-turbo's. Levels differ by at most 3 without chroma subsampling;
//!   with it, by 0.3 on average and by more at hard coloured edges.
//! - 16-bit grey is scaled to 8 bits; Pillow clips it to white.
//! - Alpha is dropped, as by the `convert("RGB")` of the model's own examples. (`convert_to_rgb` of transformers 5,
//!   which is for images not converted before, blends them with white instead.)
//! - TIFF with a palette and JPEG with arithmetic coding are not supported.

mod backend;
mod config;
mod filter;
mod jpeg;
mod load;
mod pixel_values;
mod processor;
mod resample;
mod resize;
mod rgb;
#[cfg(feature = "hub")]
mod url;

pub use backend::ImageBackend;
pub use filter::Resample;
pub use load::{ImageLimits, decode_image, decode_image_with, load_image, load_image_with};
pub use pixel_values::PixelValues;
pub use processor::{ImageProcessor, Normalization};
pub use resize::resize;
pub use rgb::to_rgb8;
#[cfg(feature = "hub")]
pub use url::{UrlLimits, is_url, load_image_url, load_image_url_with};
