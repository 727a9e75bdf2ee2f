//! Boxes, quadrilaterals and polygons, in pixels and in location bins.

use std::fmt::{self, Display};

pub use florence2_layout::image_size::ImageSize;
use florence2_layout::tokens::{LOCATION_BINS, location};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// A point, in pixels of the original image; (0, 0) is its upper left corner.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Pixels from the image's left edge.
    pub x: f32,
    /// Pixels from the image's upper edge.
    pub y: f32,
}

/// A box in pixels of the original image.
///
/// A model's answer is not corrected: a box may be inverted (`x1 > x2`).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct BoundingBox {
    /// The left edge's x coordinate, in pixels.
    pub x1: f32,
    /// The upper edge's y coordinate, in pixels.
    pub y1: f32,
    /// The right edge's x coordinate, in pixels.
    pub x2: f32,
    /// The lower edge's y coordinate, in pixels.
    pub y2: f32,
}

/// A box in location bins: left, top, right, bottom, each 0 to 999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LocationBox {
    /// The bins of the left, upper, right and lower edge.
    pub bins: [u32; 4],
}

/// Four corners, in the model's order (usually clockwise from the upper left).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Quad {
    /// The corners, in pixels.
    pub points: [Point; 4],
}

/// A closed polygon, in pixels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Polygon {
    /// The corners, in order; the last is joined to the first.
    pub points: Vec<Point>,
}

impl BoundingBox {
    /// Creates a box from its left, top, right and bottom edges, in pixels.
    pub const fn new(x1: f32, y1: f32, x2: f32, y2: f32) -> Self {
        Self { x1, y1, x2, y2 }
    }

    /// Returns `[x1, y1, x2, y2]`.
    pub const fn to_array(self) -> [f32; 4] {
        [self.x1, self.y1, self.x2, self.y2]
    }

    /// Returns the box in location bins, as `Florence2PostProcessor.quantize` does: `floor(v / (size / 1000))`, clamped to
    /// 0..=999. An edge that is less than a pixel outside the image is moved to the image's edge: detectors and annotation
    /// tools round that way.
    ///
    /// # Errors
    /// [`Error::InvalidRegion`] if the box is empty, reversed, not finite, or reaches a pixel or more outside the image.
    pub fn to_locations(self, size: ImageSize) -> Result<LocationBox> {
        let invalid = |reason| Error::InvalidRegion {
            region: self.to_string(),
            reason,
            width: size.width,
            height: size.height,
        };
        if self.to_array().iter().any(|v| !v.is_finite()) {
            return Err(invalid("not finite"));
        }
        if self.x1 >= self.x2 || self.y1 >= self.y2 {
            return Err(invalid("empty or reversed"));
        }
        let (width, height) = (size.width as f32, size.height as f32);
        let (x1, x2) = (self.x1.max(0.0), self.x2.min(width));
        let (y1, y2) = (self.y1.max(0.0), self.y2.min(height));
        let distances = [x1 - self.x1, self.x2 - x2, y1 - self.y1, self.y2 - y2];
        if distances.iter().any(|&distance| distance >= 1.0) || x1 >= x2 || y1 >= y2 {
            return Err(invalid("outside the image"));
        }
        let bin = |v: f32, size: f32| {
            let bins = LOCATION_BINS as f32;
            (v / (size / bins)).floor().clamp(0.0, bins - 1.0) as u32
        };
        Ok(LocationBox {
            bins: [bin(x1, width), bin(y1, height), bin(x2, width), bin(y2, height)],
        })
    }
}

impl LocationBox {
    /// Returns the box if a prompt can contain it.
    ///
    /// # Errors
    /// [`Error::InvalidRegion`] if a bin is out of range or the box is reversed; `size` is for the message.
    pub(crate) fn checked(self, size: ImageSize) -> Result<Self> {
        let [x1, y1, x2, y2] = self.bins;
        let reason = if self.bins.iter().any(|&bin| bin >= LOCATION_BINS) {
            "outside the location bins, 0 to 999"
        } else if x1 > x2 || y1 > y2 {
            "reversed"
        } else {
            return Ok(self);
        };
        Err(Error::InvalidRegion {
            region: self.to_string(),
            reason,
            width: size.width,
            height: size.height,
        })
    }
}

/// Converts to the f64 with the fewest digits that rounds to this f32 (0.3, not 0.30000001192092896), as it is written in JSON.
pub(crate) fn shortest(value: f32) -> f64 {
    value.to_string().parse().unwrap_or_else(|_| f64::from(value))
}

/// Formats `x,y`, each with the formatter's precision: `{:.1}`.
impl Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.x.fmt(f)?;
        f.write_str(",")?;
        self.y.fmt(f)
    }
}

/// Formats `x1,y1,x2,y2`, each with the formatter's precision: `{:.1}`.
impl Display for BoundingBox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { x1, y1, x2, y2 } = *self;
        corners(&[Point { x: x1, y: y1 }, Point { x: x2, y: y2 }], f)
    }
}

/// Formats the corners, `x1,y1,…,x4,y4`, each number with the formatter's precision.
impl Display for Quad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        corners(&self.points, f)
    }
}

/// Formats the corners, `x1,y1,x2,y2,…`, each number with the formatter's precision.
impl Display for Polygon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        corners(&self.points, f)
    }
}

fn corners(points: &[Point], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    points.iter().enumerate().try_for_each(|(index, point)| {
        if index > 0 {
            f.write_str(",")?;
        }
        point.fmt(f)
    })
}

/// Formats the tokens of a prompt: `<loc_1><loc_2><loc_3><loc_4>`.
impl Display for LocationBox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bins.iter().try_for_each(|&bin| f.write_str(&location(bin)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: ImageSize = ImageSize::new(640, 480);

    #[test]
    fn shapes_are_formatted_with_the_precision() {
        let bbox = BoundingBox::new(1.0, 2.25, 3.5, 4.0);
        assert_eq!(bbox.to_string(), "1,2.25,3.5,4");
        assert_eq!(format!("{bbox:.1}"), "1.0,2.2,3.5,4.0");
        let points = [Point { x: 0.5, y: 2.0 }; 4];
        assert_eq!(format!("{:.0}", Quad { points }), "0,2,0,2,0,2,0,2");
        let points = points[..2].to_vec();
        assert_eq!(Polygon { points }.to_string(), "0.5,2,0.5,2");
    }

    #[test]
    fn regions_become_location_tokens() {
        let region = BoundingBox::new(0.0, 0.0, 640.0, 240.0)
            .to_locations(SIZE)
            .unwrap();
        assert_eq!(region.to_string(), "<loc_0><loc_0><loc_999><loc_500>");
    }

    #[test]
    fn a_fraction_of_a_pixel_outside_the_image_is_cut_off() {
        let over = BoundingBox::new(-0.4, -0.99, 640.5, 480.001);
        let whole = BoundingBox::new(0.0, 0.0, 640.0, 480.0);
        assert_eq!(
            over.to_locations(SIZE).unwrap(),
            whole.to_locations(SIZE).unwrap()
        );
    }

    #[test]
    fn invalid_regions_are_rejected() {
        for (region, reason) in [
            (BoundingBox::new(10.0, 10.0, 5.0, 20.0), "empty or reversed"),
            (BoundingBox::new(10.0, 20.0, 15.0, 20.0), "empty or reversed"),
            (BoundingBox::new(-1.0, 0.0, 5.0, 5.0), "outside the image"),
            (BoundingBox::new(0.0, 0.0, 5.0, 481.0), "outside the image"),
            (BoundingBox::new(640.2, 0.0, 640.9, 5.0), "outside the image"),
            (BoundingBox::new(f32::NAN, 0.0, 5.0, 5.0), "not finite"),
        ] {
            match region.to_locations(SIZE) {
                Err(Error::InvalidRegion { reason: found, .. }) => assert_eq!(found, reason),
                other => panic!("{region}: {other:?}"),
            }
        }
    }
}
