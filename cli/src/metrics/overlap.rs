//! Intersection over union (the Jaccard index) of boxes and of polygons.

use florence2::{BoundingBox, Point, Polygon, Quad};
use i_overlay::core::fill_rule::FillRule;
use i_overlay::core::overlay_rule::OverlayRule;
use i_overlay::float::single::SingleFloatOverlay;
use i_overlay::i_shape::base::data::{Contour, Shapes};
use i_overlay::i_shape::float::area::Area;

/// Returns the IoU of two boxes; a reversed box has no area and overlaps nothing.
pub fn box_iou(one: &BoundingBox, other: &BoundingBox) -> f64 {
    let area = |bbox: [f32; 4]| {
        let [x1, y1, x2, y2] = bbox.map(f64::from);
        (x2 - x1).max(0.0) * (y2 - y1).max(0.0)
    };
    let intersection = area([
        one.x1.max(other.x1),
        one.y1.max(other.y1),
        one.x2.min(other.x2),
        one.y2.min(other.y2),
    ]);
    ratio(
        intersection,
        area(one.to_array()) + area(other.to_array()) - intersection,
    )
}

/// Returns the IoU of two quadrilaterals, as [`mask_iou`] computes it.
pub fn quad_iou(one: &Quad, other: &Quad) -> f64 {
    iou(&mask([one.points.as_slice()]), &mask([other.points.as_slice()]))
}

/// Returns the IoU of the masks that two sets of polygons make; 0 if both are empty.
///
/// The areas are those of the polygons themselves (no rasterisation), as `i_overlay` computes them: corners are
/// rounded to a grid about 2^-30 of the extent wide. A polygon is filled by the non-zero rule: all of a figure of
/// eight, without the hole of a ring that is drawn in one line. Several polygons are joined: their overlap counts
/// once, whichever way round each is drawn.
pub fn mask_iou(one: &[Polygon], other: &[Polygon]) -> f64 {
    let mask_of = |polygons: &[Polygon]| mask(polygons.iter().map(|polygon| polygon.points.as_slice()));
    iou(&mask_of(one), &mask_of(other))
}

fn mask<'a>(polygons: impl IntoIterator<Item = &'a [Point]>) -> Shapes<[f64; 2]> {
    polygons.into_iter().fold(Shapes::new(), |mask, polygon| {
        let contour: Contour<[f64; 2]> = polygon
            .iter()
            .map(|point| [f64::from(point.x), f64::from(point.y)])
            .collect();
        mask.overlay(&contour, OverlayRule::Union, FillRule::NonZero)
    })
}

fn iou(one: &Shapes<[f64; 2]>, other: &Shapes<[f64; 2]>) -> f64 {
    // Holes have the opposite orientation to outlines, so that their areas are subtracted.
    let area = |shapes: &Shapes<[f64; 2]>| shapes.area().abs();
    let intersection = area(&one.overlay(other, OverlayRule::Intersect, FillRule::NonZero));
    ratio(intersection, area(one) + area(other) - intersection)
}

fn ratio(intersection: f64, union: f64) -> f64 {
    if union > 0.0 { intersection / union } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn polygon(coordinates: &[f32]) -> Polygon {
        let points = coordinates.chunks(2).map(|c| Point { x: c[0], y: c[1] });
        Polygon {
            points: points.collect(),
        }
    }

    fn square(x: f32, y: f32, side: f32) -> Polygon {
        polygon(&[x, y, x + side, y, x + side, y + side, x, y + side])
    }

    #[track_caller]
    fn assert_iou(one: &[Polygon], other: &[Polygon], expected: f64) {
        for (a, b) in [(one, other), (other, one)] {
            let found = mask_iou(a, b);
            assert!((found - expected).abs() < 1e-6, "{found} is not {expected}");
        }
    }

    #[test]
    fn boxes() {
        let bbox = BoundingBox::new(0.0, 0.0, 10.0, 10.0);
        for (other, expected) in [
            ([0.0, 0.0, 10.0, 10.0], 1.0),
            // 5 · 10 of 100 + 100 − 50
            ([5.0, 0.0, 15.0, 10.0], 1.0 / 3.0),
            // 5 · 5 of 100 + 100 − 25
            ([5.0, 5.0, 15.0, 15.0], 25.0 / 175.0),
            ([2.0, 2.0, 4.0, 4.0], 0.04),
            ([10.0, 0.0, 20.0, 10.0], 0.0),
            ([20.0, 20.0, 30.0, 30.0], 0.0),
            // reversed, in one direction and in both
            ([10.0, 0.0, 0.0, 10.0], 0.0),
            ([10.0, 10.0, 0.0, 0.0], 0.0),
            ([5.0, 5.0, 5.0, 5.0], 0.0),
        ] {
            let other = BoundingBox::new(other[0], other[1], other[2], other[3]);
            assert_eq!(box_iou(&bbox, &other), expected, "{other}");
            assert_eq!(box_iou(&other, &bbox), expected, "{other}");
        }
        let empty = BoundingBox::new(5.0, 5.0, 5.0, 5.0);
        assert_eq!(box_iou(&empty, &empty), 0.0);
    }

    #[test]
    fn quadrilaterals_may_be_turned() {
        let quad = |c: [f32; 8]| Quad {
            points: [0, 2, 4, 6].map(|i| Point { x: c[i], y: c[i + 1] }),
        };
        let upright = quad([0.0, 0.0, 10.0, 0.0, 10.0, 10.0, 0.0, 10.0]);
        // The diamond in the square is half of it.
        let diamond = quad([5.0, 0.0, 10.0, 5.0, 5.0, 10.0, 0.0, 5.0]);
        assert!((quad_iou(&upright, &diamond) - 0.5).abs() < 1e-6);
        let other_start = quad([10.0, 10.0, 0.0, 10.0, 0.0, 0.0, 10.0, 0.0]);
        assert!((quad_iou(&upright, &other_start) - 1.0).abs() < 1e-6);
    }

    #[test]
    fn polygons_cover_their_area() {
        assert_iou(&[square(0.0, 0.0, 10.0)], &[square(0.0, 0.0, 10.0)], 1.0);
        assert_iou(&[square(0.0, 0.0, 10.0)], &[square(5.0, 5.0, 10.0)], 25.0 / 175.0);
        // Half of the square.
        let triangle = polygon(&[0.0, 0.0, 10.0, 0.0, 0.0, 10.0]);
        assert_iou(&[square(0.0, 0.0, 10.0)], &[triangle], 0.5);
        // An L of 75.
        let concave = polygon(&[0.0, 0.0, 10.0, 0.0, 10.0, 5.0, 5.0, 5.0, 5.0, 10.0, 0.0, 10.0]);
        assert_iou(&[square(0.0, 0.0, 10.0)], &[concave], 0.75);
    }

    #[test]
    fn several_polygons_are_joined() {
        let left = polygon(&[0.0, 0.0, 5.0, 0.0, 5.0, 10.0, 0.0, 10.0]);
        let right = polygon(&[5.0, 0.0, 10.0, 0.0, 10.0, 10.0, 5.0, 10.0]);
        assert_iou(&[left.clone(), right], &[square(0.0, 0.0, 10.0)], 1.0);
        // An area covered twice counts once, whatever the orientation.
        let backwards = polygon(&[0.0, 10.0, 5.0, 10.0, 5.0, 0.0, 0.0, 0.0]);
        assert_iou(
            &[left.clone(), backwards, left.clone()],
            &[square(0.0, 0.0, 10.0)],
            0.5,
        );
    }

    #[test]
    fn holes_have_no_area() {
        // A ring of 100 − 16 in one line: round the square, across to the hole, round it the other way, and back.
        let ring = polygon(&[
            0.0, 0.0, 10.0, 0.0, 10.0, 10.0, 0.0, 10.0, 0.0, 0.0, 3.0, 3.0, 3.0, 7.0, 7.0, 7.0, 7.0, 3.0,
            3.0, 3.0,
        ]);
        let ring = [ring];
        assert_iou(&ring, &[square(0.0, 0.0, 10.0)], 0.84);
        assert_iou(&ring, &[square(3.0, 3.0, 4.0)], 0.0);
        // Four strips about a hole of 6 · 6.
        let frame = [
            polygon(&[0.0, 0.0, 10.0, 0.0, 10.0, 2.0, 0.0, 2.0]),
            polygon(&[0.0, 8.0, 10.0, 8.0, 10.0, 10.0, 0.0, 10.0]),
            polygon(&[0.0, 0.0, 2.0, 0.0, 2.0, 10.0, 0.0, 10.0]),
            polygon(&[8.0, 0.0, 10.0, 0.0, 10.0, 10.0, 8.0, 10.0]),
        ];
        assert_iou(&frame, &[square(0.0, 0.0, 10.0)], 0.64);
    }

    #[test]
    fn a_line_that_crosses_itself_fills_both_sides() {
        // Two triangles of 25 that meet in the middle.
        let bow_tie = polygon(&[0.0, 0.0, 10.0, 10.0, 10.0, 0.0, 0.0, 10.0]);
        assert_iou(&[bow_tie], &[square(0.0, 0.0, 10.0)], 0.5);
        // A spike without area.
        let spiked = polygon(&[0.0, 0.0, 10.0, 0.0, 10.0, 10.0, 50.0, 50.0, 10.0, 10.0, 0.0, 10.0]);
        assert_iou(&[spiked], &[square(0.0, 0.0, 10.0)], 1.0);
        // Round twice.
        let twice = polygon(&[
            0.0, 0.0, 10.0, 0.0, 10.0, 10.0, 0.0, 10.0, 0.0, 0.0, 10.0, 0.0, 10.0, 10.0, 0.0, 10.0,
        ]);
        assert_iou(&[twice], &[square(0.0, 0.0, 10.0)], 1.0);
    }

    #[test]
    fn shapes_without_area_overlap_nothing() {
        let square = [square(0.0, 0.0, 10.0)];
        for nothing in [
            vec![],
            vec![polygon(&[])],
            vec![polygon(&[5.0, 5.0])],
            vec![polygon(&[1.0, 1.0, 9.0, 9.0])],
            vec![polygon(&[1.0, 1.0, 5.0, 5.0, 9.0, 9.0])],
            vec![polygon(&[5.0, 5.0, 5.0, 5.0, 5.0, 5.0])],
        ] {
            assert_iou(&nothing, &square, 0.0);
            assert_iou(&nothing, &nothing, 0.0);
        }
    }
}
