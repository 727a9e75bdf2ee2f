//! Lines and areas on an image.

use image::RgbImage;
use tiny_skia::{
    Color, FillRule, LineCap, LineJoin, Paint, Path, PathBuilder, Pixmap, Rect, Stroke, Transform,
};

use crate::error::{Error, Result};
use crate::geometry::{BoundingBox, Point};

/// A closed line.
pub(super) type Outline = Vec<Point>;

/// The angle between the hues of consecutive objects, in turns: the golden angle, so that hues of few or many objects
/// differ.
const HUE_STEP: f32 = 0.381_966;

/// An opaque colour, red, green and blue from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rgb([f32; 3]);

/// Returns the colour of an object.
pub(super) fn instance_color(index: usize) -> Rgb {
    let hue = (index as f32 * HUE_STEP + 0.02).fract() * 6.0;
    // Brightness alternates, so that objects with similar hues still differ.
    let value = [1.0, 0.85, 0.68][index % 3];
    let saturation = 0.85;
    Rgb([5.0, 3.0, 1.0].map(|offset| {
        let position: f32 = (offset + hue) % 6.0;
        value * (1.0 - saturation * position.min(4.0 - position).clamp(0.0, 1.0))
    }))
}

impl Rgb {
    const BLACK: Self = Self([0.0; 3]);
    const WHITE: Self = Self([1.0; 3]);

    /// Returns black or white, whichever has more contrast with this colour by the relative luminance of WCAG 2.
    pub(super) fn text_color(self) -> Self {
        let linear = |value: f32| {
            if value <= 0.04045 {
                value / 12.92
            } else {
                ((value + 0.055) / 1.055).powf(2.4)
            }
        };
        let [r, g, b] = self.0.map(linear);
        let luminance = 0.2126 * r + 0.7152 * g + 0.0722 * b;
        // The solution of (1 + 0.05) / (l + 0.05) = (l + 0.05) / (0 + 0.05).
        if luminance > 0.179 {
            Self::BLACK
        } else {
            Self::WHITE
        }
    }

    fn paint(self, opacity: f32) -> Paint<'static> {
        let [r, g, b] = self.0;
        let mut paint = Paint::default();
        // A caller's opacity may be out of range, or NaN.
        let opacity = if opacity.is_nan() {
            0.0
        } else {
            opacity.clamp(0.0, 1.0)
        };
        paint.set_color(Color::from_rgba(r, g, b, opacity).unwrap_or(Color::BLACK));
        paint
    }
}

/// An image being drawn on.
pub(super) struct Canvas {
    pixels: Pixmap,
}

impl Canvas {
    /// # Errors
    /// [`Error::ImageTooLarge`] if a row has more than `i32::MAX` bytes.
    pub(super) fn new(image: &RgbImage) -> Result<Self> {
        let (width, height) = image.dimensions();
        let mut pixels = Pixmap::new(width, height).ok_or_else(|| Error::ImageTooLarge {
            name: "annotated image".to_owned(),
            width,
            height,
            limit: i32::MAX as u64 / 4,
        })?;
        for (to, from) in pixels.data_mut().chunks_exact_mut(4).zip(image.pixels()) {
            let [r, g, b] = from.0;
            to.copy_from_slice(&[r, g, b, u8::MAX]);
        }
        Ok(Self { pixels })
    }

    pub(super) fn width(&self) -> f32 {
        self.pixels.width() as f32
    }

    pub(super) fn height(&self) -> f32 {
        self.pixels.height() as f32
    }

    /// Fills outlines.
    pub(super) fn fill(&mut self, outlines: &[Outline], color: Rgb, opacity: f32) {
        if let Some(path) = path(outlines) {
            self.fill_with(&path, &color.paint(opacity));
        }
    }

    /// Draws outlines with a dark border, which shows on an image of the same colour.
    pub(super) fn stroke(&mut self, outlines: &[Outline], color: Rgb, width: f32) {
        let Some(path) = path(outlines) else { return };
        let border = (width * 0.5).max(1.0);
        for (paint, width) in [(Rgb::BLACK.paint(0.4), width + border), (color.paint(1.0), width)] {
            let stroke = Stroke {
                width,
                line_cap: LineCap::Round,
                line_join: LineJoin::Round,
                ..Stroke::default()
            };
            self.pixels
                .stroke_path(&path, &paint, &stroke, Transform::identity(), None);
        }
    }

    /// Fills a box.
    pub(super) fn fill_box(&mut self, area: BoundingBox, color: Rgb) {
        if let Some(area) = Rect::from_ltrb(area.x1, area.y1, area.x2, area.y2) {
            self.pixels
                .fill_rect(area, &color.paint(1.0), Transform::identity(), None);
        }
    }

    /// Fills a path, such as letters.
    pub(super) fn fill_path(&mut self, path: Option<Path>, color: Rgb) {
        if let Some(path) = path {
            self.fill_with(&path, &color.paint(1.0));
        }
    }

    /// Returns the image with the drawing.
    pub(super) fn into_image(self) -> RgbImage {
        let mut image = RgbImage::new(self.pixels.width(), self.pixels.height());
        for (to, from) in image.pixels_mut().zip(self.pixels.pixels()) {
            to.0 = [from.red(), from.green(), from.blue()];
        }
        image
    }

    fn fill_with(&mut self, path: &Path, paint: &Paint) {
        self.pixels
            .fill_path(path, paint, FillRule::Winding, Transform::identity(), None);
    }
}

fn path(outlines: &[Outline]) -> Option<Path> {
    let mut path = PathBuilder::new();
    for outline in outlines {
        let mut points = outline.iter();
        if let Some(first) = points.next() {
            path.move_to(first.x, first.y);
            points.for_each(|point| path.line_to(point.x, point.y));
            path.close();
        }
    }
    path.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consecutive_colours_differ() {
        let distance = |a: Rgb, b: Rgb| a.0.iter().zip(b.0).map(|(a, b)| (a - b).abs()).sum::<f32>();
        for index in 0..60 {
            for other in index + 1..index + 8 {
                assert!(
                    distance(instance_color(index), instance_color(other)) > 0.1,
                    "{index} {other}"
                );
            }
        }
    }

    #[test]
    fn text_contrasts_with_its_background() {
        assert_eq!(Rgb([1.0, 1.0, 0.0]).text_color(), Rgb::BLACK);
        assert_eq!(Rgb([0.0, 0.0, 0.8]).text_color(), Rgb::WHITE);
    }
}
