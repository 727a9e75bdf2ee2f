//! Layout of labels.

use crate::geometry::BoundingBox;

/// The number of rows above and below an object that are tried if the positions around it are taken.
const ROWS: i32 = 12;

/// The labels placed so far on an image.
pub(super) struct LabelLayout {
    width: f32,
    height: f32,
    placed: Vec<BoundingBox>,
}

impl LabelLayout {
    pub(super) fn new(width: f32, height: f32) -> Self {
        Self {
            width,
            height,
            placed: Vec::new(),
        }
    }

    /// Places a label of `width` × `height` for the object in `bounds`, within the image: above the object if
    /// possible, else inside or around it. Takes the first position that covers no other label, or else the position
    /// that covers the least.
    pub(super) fn place(&mut self, bounds: BoundingBox, width: f32, height: f32) -> BoundingBox {
        let BoundingBox { x1, y1, x2, y2 } = bounds;
        let above = if y1 >= height { y1 - height } else { y1 };
        let around = [
            (x1, above),
            (x1, y1),
            (x2 - width, above),
            (x1, y2),
            (x2 - width, y2 - height),
            (x1, y2 - height),
            (x2, y1),
        ];
        let rows = (1..=ROWS).flat_map(|row| {
            [
                (x1, y1 + row as f32 * height),
                (x1, y1 - (row + 1) as f32 * height),
            ]
        });
        let mut best = (f32::INFINITY, self.inside(x1, above, width, height));
        for (x, y) in around.into_iter().chain(rows) {
            let rect = self.inside(x, y, width, height);
            let covered: f32 = self.placed.iter().map(|other| overlap(&rect, other)).sum();
            if covered < best.0 {
                best = (covered, rect);
            }
            if covered == 0.0 {
                break;
            }
        }
        self.placed.push(best.1);
        best.1
    }

    /// Returns the label's rectangle, moved into the image, and cut off if it is larger.
    fn inside(&self, x: f32, y: f32, width: f32, height: f32) -> BoundingBox {
        let x = x.min(self.width - width).max(0.0);
        let y = y.min(self.height - height).max(0.0);
        BoundingBox::new(x, y, (x + width).min(self.width), (y + height).min(self.height))
    }
}

fn overlap(a: &BoundingBox, b: &BoundingBox) -> f32 {
    let width = a.x2.min(b.x2) - a.x1.max(b.x1);
    let height = a.y2.min(b.y2) - a.y1.max(b.y1);
    if width > 0.0 && height > 0.0 {
        width * height
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_stay_inside_at_every_edge_and_corner() {
        for left in [0.0, 40.0, 95.0, 100.0] {
            for top in [0.0, 40.0, 95.0, 100.0] {
                let mut layout = LabelLayout::new(100.0, 100.0);
                for _ in 0..40 {
                    let rect = layout.place(BoundingBox::new(left, top, 100.0, 100.0), 30.0, 10.0);
                    assert!(
                        rect.x1 >= 0.0 && rect.y1 >= 0.0 && rect.x2 <= 100.0 && rect.y2 <= 100.0,
                        "{rect}"
                    );
                    assert_eq!((rect.x2 - rect.x1, rect.y2 - rect.y1), (30.0, 10.0));
                }
            }
        }
    }

    #[test]
    fn labels_are_above_or_else_inside() {
        let mut layout = LabelLayout::new(100.0, 100.0);
        let above = layout.place(BoundingBox::new(20.0, 50.0, 60.0, 90.0), 30.0, 10.0);
        assert_eq!(above, BoundingBox::new(20.0, 40.0, 50.0, 50.0));
        let inside = layout.place(BoundingBox::new(20.0, 5.0, 60.0, 30.0), 30.0, 10.0);
        assert_eq!(inside, BoundingBox::new(20.0, 5.0, 50.0, 15.0));
    }

    #[test]
    fn labels_avoid_each_other_if_possible() {
        let mut layout = LabelLayout::new(200.0, 200.0);
        let rects: Vec<_> = (0..12)
            .map(|_| layout.place(BoundingBox::new(50.0, 50.0, 120.0, 120.0), 40.0, 10.0))
            .collect();
        for (index, rect) in rects.iter().enumerate() {
            assert!(
                rects[..index].iter().all(|other| overlap(rect, other) == 0.0),
                "{index}: {rect}"
            );
        }
    }

    #[test]
    fn labels_larger_than_the_image_are_cut() {
        let mut layout = LabelLayout::new(20.0, 5.0);
        let rect = layout.place(BoundingBox::new(0.0, 0.0, 20.0, 5.0), 30.0, 10.0);
        assert_eq!(rect, BoundingBox::new(0.0, 0.0, 20.0, 5.0));
    }
}
