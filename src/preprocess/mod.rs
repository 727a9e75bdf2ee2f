//! From a picture to the numbers that the vision encoder takes.
//!
//! [`load_image`] and [`decode_image`] read a picture as Pillow does (`ImageOps.exif_transpose`, then
//! `convert("RGB")`); [`ImageProcessor`] resizes it as Pillow does, to the last bit, and normalises it as
//! `CLIPImageProcessorPil` of transformers does.

mod config;
mod filter;
mod jpeg;
mod load;
mod processor;
mod resize;
mod rgb;

pub use filter::Resample;
pub use load::{ImageLimits, decode_image, load_image};
pub use processor::{ImageProcessor, Normalization, PixelValues};
pub use resize::resize;
pub use rgb::to_rgb8;
