//! Decoding of images from files and bytes.

use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;

use florence2_layout::setters;
use image::error::{DecodingError, ImageFormatHint};
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, RgbImage};
use regex::bytes::Regex;

use super::{jpeg, rgb};
use crate::error::{Error, Result};

/// Limits of an image's size, checked before memory for the pixels is allocated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImageLimits {
    /// The maximum of width × height. The default is 178,956,970, which is Pillow's (`2 * Image.MAX_IMAGE_PIXELS`).
    pub max_pixels: u64,
    /// The maximum size of the encoded image, in bytes. The default is 1 GiB, so that a device or a disk image given by
    /// mistake is not read to its end.
    pub max_file_bytes: u64,
}

impl Default for ImageLimits {
    fn default() -> Self {
        Self {
            max_pixels: 178_956_970,
            max_file_bytes: 1 << 30,
        }
    }
}

setters! { ImageLimits {
    with_max_pixels(max_pixels: u64);
    with_max_file_bytes(max_file_bytes: u64);
}}

impl ImageLimits {
    /// Returns the bytes that a decoder may allocate: two buffers of the widest pixels (four 32-bit channels), and not less
    /// than it needs to read the size of an image, which is checked next.
    fn max_alloc(&self) -> u64 {
        self.max_pixels.saturating_mul(2 * 16).max(16 << 20)
    }
}

/// Reads an image file, upright and in RGB, within the default [`ImageLimits`]: see [`decode_image_with`].
///
/// # Errors
/// As [`load_image_with`].
pub fn load_image(path: impl AsRef<Path>) -> Result<RgbImage> {
    load_image_with(path, &ImageLimits::default())
}

/// Reads an image file, upright and in RGB: see [`decode_image_with`].
///
/// # Errors
/// [`Error::Io`] if the file cannot be read, and errors of [`decode_image_with`].
pub fn load_image_with(path: impl AsRef<Path>, limits: &ImageLimits) -> Result<RgbImage> {
    let path = path.as_ref();
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| {
            file.take(limits.max_file_bytes.saturating_add(1))
                .read_to_end(&mut bytes)
        })
        .map_err(Error::io(path))?;
    decode_image_with(&path.display().to_string(), &bytes, limits)
}

/// Decodes an image in memory, within the default [`ImageLimits`]: see [`decode_image_with`].
///
/// # Errors
/// As [`decode_image_with`].
pub fn decode_image(bytes: &[u8]) -> Result<RgbImage> {
    decode_image_with("the image", bytes, &ImageLimits::default())
}

/// Decodes an image: the first frame of an animation, rotated by its EXIF (or XMP) orientation, converted to RGB by
/// [`to_rgb8`](super::to_rgb8).
///
/// The format is detected by the content, or for formats without a signature (TGA) by the extension of `name`, which is
/// otherwise only used in errors.
///
/// # Errors
/// - [`Error::ImageDecode`] if `bytes` are not an image, or a damaged or truncated one
/// - [`Error::ImageFileTooLarge`] or [`Error::ImageTooLarge`] if it has more bytes or pixels than `limits` allow
/// - [`Error::ImageEmpty`] if it has none
pub fn decode_image_with(name: &str, bytes: &[u8], limits: &ImageLimits) -> Result<RgbImage> {
    let decode_error = |source| Error::ImageDecode {
        name: name.to_owned(),
        source,
    };
    if bytes.len() as u64 > limits.max_file_bytes {
        return Err(Error::ImageFileTooLarge {
            name: name.to_owned(),
            limit: limits.max_file_bytes,
        });
    }
    let format = image::guess_format(bytes)
        .or_else(|unknown| ImageFormat::from_path(name).map_err(|_| unknown))
        .map_err(decode_error)?;
    if format == ImageFormat::Jpeg && !jpeg::is_complete(bytes) {
        return Err(decode_error(ImageError::Decoding(DecodingError::new(
            ImageFormatHint::Exact(format),
            "the file is truncated",
        ))));
    }

    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut allowed = image::Limits::default();
    allowed.max_alloc = Some(limits.max_alloc());
    reader.limits(allowed);
    let mut decoder = reader.into_decoder().map_err(decode_error)?;
    let (width, height) = decoder.dimensions();
    if width == 0 || height == 0 {
        return Err(Error::ImageEmpty { width, height });
    }
    if u64::from(width) * u64::from(height) > limits.max_pixels {
        return Err(Error::ImageTooLarge {
            name: name.to_owned(),
            width,
            height,
            limit: limits.max_pixels,
        });
    }
    // Unreadable metadata is not an error.
    let orientation = orientation(&mut decoder).unwrap_or(Orientation::NoTransforms);
    let image = DynamicImage::from_decoder(decoder).map_err(decode_error)?;
    let mut image = DynamicImage::ImageRgb8(rgb::into_rgb8(image));
    image.apply_orientation(orientation);
    Ok(image.into_rgb8())
}

/// Returns the orientation in EXIF, or else in XMP, as Pillow's `getexif` does.
fn orientation(decoder: &mut impl ImageDecoder) -> Option<Orientation> {
    let exif = decoder
        .orientation()
        .ok()
        .filter(|found| *found != Orientation::NoTransforms);
    exif.or_else(|| {
        let exif = decoder.exif_metadata().ok().flatten();
        exif.and_then(|chunk| Orientation::from_exif_chunk(&chunk))
    })
    .or_else(|| {
        let xmp = decoder.xmp_metadata().ok().flatten()?;
        let found = Regex::new(r#"tiff:Orientation(?:="|>)([0-9])"#)
            .ok()?
            .captures(&xmp)?;
        Orientation::from_exif(found.get(1)?.as_bytes().first()?.wrapping_sub(b'0'))
    })
}
