//! Comparison of the contents of two answers.

use florence2::{BoundingBox, Parsed, Polygon, Quad, Segmentation};
use serde::Serialize;

use super::matching::pairs;
use super::overlap::{box_iou, mask_iou, quad_iou};
use super::text::normalise;

/// The comparison of two answers' contents, by the kind of answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Content {
    /// Captions and recognised text.
    Text {
        /// Whether the texts are equal apart from white space.
        same: bool,
    },
    /// Labelled boxes or quadrilaterals.
    Instances {
        /// The number of the reference's instances.
        reference: usize,
        /// The number of the candidate's instances.
        candidate: usize,
        /// The IoU of each matched pair: same label, IoU of 0.5 or more.
        ious: Vec<f64>,
    },
    /// Outlines.
    Mask {
        /// The IoU of the masks that all outlines make; 1 if both answers have none.
        iou: f64,
    },
}

/// Compares the contents of two answers, by the kind of `reference`.
pub fn content(reference: &Parsed, candidate: &Parsed) -> Content {
    match reference {
        Parsed::Text(text) => Content::Text {
            same: matches!(candidate, Parsed::Text(other) if normalise(text) == normalise(other)),
        },
        Parsed::OcrRegions(_) => instances(&quads(reference), &quads(candidate), quad_iou),
        Parsed::Segmentations(_) => {
            let (theirs, ours) = (polygons(reference), polygons(candidate));
            let both_empty = theirs.is_empty() && ours.is_empty();
            Content::Mask {
                iou: if both_empty { 1.0 } else { mask_iou(&ours, &theirs) },
            }
        }
        _ => instances(&boxes(reference), &boxes(candidate), box_iou),
    }
}

fn instances<S>(
    reference: &[(String, S)],
    candidate: &[(String, S)],
    iou: impl Fn(&S, &S) -> f64,
) -> Content {
    Content::Instances {
        reference: reference.len(),
        candidate: candidate.len(),
        ious: pairs(candidate, reference, iou),
    }
}

/// Returns the labels and boxes of an answer; an outline of open-vocabulary detection counts as its bounding box.
fn boxes(answer: &Parsed) -> Vec<(String, BoundingBox)> {
    let (detections, outlines) = match answer {
        Parsed::Detections(detections) => (detections.as_slice(), [].as_slice()),
        Parsed::OpenVocabulary {
            detections,
            segmentations,
        } => (detections.as_slice(), segmentations.as_slice()),
        _ => Default::default(),
    };
    let detections = detections.iter().map(|it| (normalise(&it.label), it.bbox));
    let outlines = outlines.iter().map(|it| (normalise(&it.label), bounding_box(it)));
    detections.chain(outlines).collect()
}

/// Returns the texts and quadrilaterals of an answer.
fn quads(answer: &Parsed) -> Vec<(String, Quad)> {
    let Parsed::OcrRegions(regions) = answer else {
        return Vec::new();
    };
    regions.iter().map(|it| (normalise(&it.text), it.quad)).collect()
}

/// Returns the polygons of all outlines of an answer.
fn polygons(answer: &Parsed) -> Vec<Polygon> {
    let Parsed::Segmentations(outlines) = answer else {
        return Vec::new();
    };
    outlines.iter().flat_map(|it| it.polygons.clone()).collect()
}

/// Returns the smallest box that contains all polygons; an infinite, reversed one if they have no points.
pub fn bounding_box(outline: &Segmentation) -> BoundingBox {
    let points = outline.polygons.iter().flat_map(|polygon| &polygon.points);
    let nothing = BoundingBox::new(f32::INFINITY, f32::INFINITY, f32::NEG_INFINITY, f32::NEG_INFINITY);
    points.fold(nothing, |bbox, point| BoundingBox {
        x1: bbox.x1.min(point.x),
        y1: bbox.y1.min(point.y),
        x2: bbox.x2.max(point.x),
        y2: bbox.y2.max(point.y),
    })
}

#[cfg(test)]
mod tests {
    use florence2::{Detection, Point};

    use super::*;

    fn detections(boxes: &[(&str, f32)]) -> Parsed {
        let detection =
            |&(label, x2): &(&str, f32)| Detection::new(BoundingBox::new(0.0, 0.0, x2, 10.0), label);
        Parsed::Detections(boxes.iter().map(detection).collect())
    }

    fn outline(corners: &[(f32, f32)]) -> Parsed {
        let points = corners.iter().map(|&(x, y)| Point { x, y }).collect();
        Parsed::Segmentations(vec![Segmentation::new(vec![Polygon { points }], "")])
    }

    #[test]
    fn boxes_match_by_label_and_overlap() {
        let reference = detections(&[("star", 10.0), ("ring", 10.0), ("moon", 10.0)]);
        let candidate = detections(&[("ring", 8.0), ("star", 10.0)]);
        let Content::Instances {
            reference,
            candidate,
            ious,
        } = content(&reference, &candidate)
        else {
            panic!("boxes are instances");
        };
        assert_eq!((reference, candidate), (3, 2));
        assert!((ious[0] - 1.0).abs() < 1e-6 && (ious[1] - 0.8).abs() < 1e-6);
        assert_eq!(ious.len(), 2);
    }

    #[test]
    fn texts_are_equal_apart_from_white_space() {
        let text = |text: &str| Parsed::Text(text.into());
        assert_eq!(
            content(&text("a  star "), &text("a star")),
            Content::Text { same: true }
        );
        assert_eq!(
            content(&text("a star"), &text("A star")),
            Content::Text { same: false }
        );
        assert_eq!(
            content(&text(""), &detections(&[])),
            Content::Text { same: false }
        );
    }

    #[test]
    fn outlines_are_masks() {
        let square = outline(&[(0.0, 0.0), (10.0, 0.0), (10.0, 10.0), (0.0, 10.0)]);
        let half = outline(&[(0.0, 0.0), (10.0, 0.0), (10.0, 5.0), (0.0, 5.0)]);
        let none = Parsed::Segmentations(Vec::new());
        for (one, other, expected) in [(&square, &half, 0.5), (&square, &none, 0.0), (&none, &none, 1.0)] {
            let Content::Mask { iou } = content(one, other) else {
                panic!("outlines are masks");
            };
            assert!((iou - expected).abs() < 1e-6, "{iou}");
        }
    }
}
