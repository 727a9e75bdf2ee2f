//! Conversion of decoded images to 8-bit RGB.

use std::borrow::Cow;

use image::{DynamicImage, ImageBuffer, Luma, LumaA, Pixel, Rgb, RgbImage, Rgba};

/// Converts an image to 8-bit RGB as Pillow's `convert("RGB")` does: grey is repeated, alpha is dropped (not blended), and
/// 16-bit values keep their upper 8 bits. Floating-point pixels are scaled from 0..=1.
///
/// Unlike here, Pillow clips 16-bit *grey* to 255, so that most of it becomes white; here it is scaled like 16-bit colour.
pub fn to_rgb8(image: &DynamicImage) -> Cow<'_, RgbImage> {
    match image {
        DynamicImage::ImageRgb8(rgb) => Cow::Borrowed(rgb),
        other => Cow::Owned(convert(other)),
    }
}

/// [`to_rgb8`] by value: without a copy if the image already is 8-bit RGB.
pub(super) fn into_rgb8(image: DynamicImage) -> RgbImage {
    match image {
        DynamicImage::ImageRgb8(rgb) => rgb,
        other => convert(&other),
    }
}

fn convert(image: &DynamicImage) -> RgbImage {
    let high = |value: u16| (value >> 8) as u8;
    match image {
        DynamicImage::ImageLuma8(grey) => map(grey, |Luma([l])| [*l; 3]),
        DynamicImage::ImageLumaA8(grey) => map(grey, |LumaA([l, _])| [*l; 3]),
        DynamicImage::ImageRgba8(rgba) => map(rgba, |Rgba([r, g, b, _])| [*r, *g, *b]),
        DynamicImage::ImageLuma16(grey) => map(grey, |Luma([l])| [high(*l); 3]),
        DynamicImage::ImageLumaA16(grey) => map(grey, |LumaA([l, _])| [high(*l); 3]),
        DynamicImage::ImageRgb16(rgb) => map(rgb, |Rgb(rgb)| rgb.map(high)),
        DynamicImage::ImageRgba16(rgba) => map(rgba, |Rgba([r, g, b, _])| [*r, *g, *b].map(high)),
        other => other.to_rgb8(),
    }
}

fn map<P: Pixel>(image: &ImageBuffer<P, Vec<P::Subpixel>>, rgb: impl Fn(&P) -> [u8; 3]) -> RgbImage {
    let mut converted = RgbImage::new(image.width(), image.height());
    for (to, from) in converted.pixels_mut().zip(image.pixels()) {
        *to = Rgb(rgb(from));
    }
    converted
}
