//! The shapes and labels of an answer.

use florence2::{BoundingBox, Parsed, Polygon, Quad, Segmentation};

use super::text::normalise;

/// A shape in the image, in pixels, with its label or text.
#[derive(Debug, Clone, PartialEq)]
pub struct Labelled<S> {
    pub label: String,
    pub shape: S,
}

impl<S> Labelled<S> {
    /// Returns a shape with its [normalised](normalise) label.
    pub fn normalised(label: &str, shape: S) -> Self {
        Self {
            label: normalise(label),
            shape,
        }
    }
}

/// Returns the boxes of an answer; an outline of open-vocabulary detection counts as its bounding box.
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

/// Returns the quadrilaterals of an answer, each labelled with its text.
pub fn quads(answer: &Parsed) -> Vec<Labelled<Quad>> {
    match answer {
        Parsed::OcrRegions(regions) => regions
            .iter()
            .map(|region| Labelled::normalised(&region.text, region.quad))
            .collect(),
        _ => Vec::new(),
    }
}

/// Returns the polygons of all outlines of an answer.
pub fn polygons(answer: &Parsed) -> Vec<Polygon> {
    match answer {
        Parsed::Segmentations(segmentations) => segmentations
            .iter()
            .flat_map(|segmentation| segmentation.polygons.clone())
            .collect(),
        _ => Vec::new(),
    }
}

/// Returns the smallest box that contains all polygons.
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
