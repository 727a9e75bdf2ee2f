//! What an answer holds, in the form in which it is compared.

use florence2::{BoundingBox, Parsed, Polygon, Quad, Segmentation};

use super::text::normalise;

/// A shape in the picture, in pixels, and what is said of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Labelled<S> {
    /// What is said of it.
    pub label: String,
    /// Where it is.
    pub shape: S,
}

impl<S> Labelled<S> {
    /// A shape with its label as labels are compared: [normalised](normalise).
    pub fn normalised(label: &str, shape: S) -> Self {
        Self {
            label: normalise(label),
            shape,
        }
    }
}

/// The boxes of an answer; of an outline in an answer that may have both, its bounding box.
pub fn boxes(answer: &Parsed) -> Vec<Labelled<BoundingBox>> {
    let (detections, segmentations) = match answer {
        Parsed::Detections(detections) => (detections.as_slice(), [].as_slice()),
        Parsed::OpenVocabulary {
            detections,
            segmentations,
        } => (detections.as_slice(), segmentations.as_slice()),
        _ => Default::default(),
    };
    let detections = detections
        .iter()
        .map(|detection| Labelled::normalised(&detection.label, detection.bbox));
    let outlines = segmentations
        .iter()
        .map(|segmentation| Labelled::normalised(&segmentation.label, bounding_box(segmentation)));
    detections.chain(outlines).collect()
}

/// The quadrilaterals of an answer, each labelled with its text.
pub fn quads(answer: &Parsed) -> Vec<Labelled<Quad>> {
    match answer {
        Parsed::OcrRegions(regions) => regions
            .iter()
            .map(|region| Labelled::normalised(&region.text, region.quad))
            .collect(),
        _ => Vec::new(),
    }
}

/// The polygons of all outlines of an answer.
pub fn polygons(answer: &Parsed) -> Vec<Polygon> {
    match answer {
        Parsed::Segmentations(segmentations) => segmentations
            .iter()
            .flat_map(|segmentation| segmentation.polygons.clone())
            .collect(),
        _ => Vec::new(),
    }
}

/// From the leftmost to the rightmost corner, from the uppermost to the lowest.
fn bounding_box(segmentation: &Segmentation) -> BoundingBox {
    let points = segmentation.polygons.iter().flat_map(|polygon| &polygon.points);
    let nothing = BoundingBox::new(f32::INFINITY, f32::INFINITY, f32::NEG_INFINITY, f32::NEG_INFINITY);
    points.fold(nothing, |bbox, point| {
        BoundingBox::new(
            bbox.x1.min(point.x),
            bbox.y1.min(point.y),
            bbox.x2.max(point.x),
            bbox.y2.max(point.y),
        )
    })
}
