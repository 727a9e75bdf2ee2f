//! The labelled boxes of two answers, matched by their IoU.

use florence2::{BoundingBox, Parsed};

/// Returns the boxes of an answer with their labels; outlines have none.
pub fn boxes(answer: &Parsed) -> Vec<(&str, BoundingBox)> {
    let (Parsed::Detections(detections) | Parsed::OpenVocabulary { detections, .. }) = answer else {
        return Vec::new();
    };
    let boxes = detections.iter();
    boxes
        .map(|detection| (detection.label.as_str(), detection.bbox))
        .collect()
}

/// Returns the IoU of each match, the highest first: of equal labels, an IoU of 0.5 or more, each box in one match.
pub fn matches(answered: &[(&str, BoundingBox)], truths: &[(&str, BoundingBox)]) -> Vec<f64> {
    let mut pairs = Vec::new();
    for (i, (label, bbox)) in answered.iter().enumerate() {
        let same_label = truths.iter().enumerate().filter(|(_, truth)| truth.0 == *label);
        pairs.extend(same_label.map(|(j, truth)| (iou(bbox, &truth.1), i, j)));
    }
    pairs.retain(|(iou, ..)| *iou >= 0.5);
    pairs.sort_by(|(one, ..), (other, ..)| other.total_cmp(one));
    let mut matches: Vec<(f64, usize, usize)> = Vec::new();
    for (iou, i, j) in pairs {
        if matches.iter().all(|&(_, a, b)| a != i && b != j) {
            matches.push((iou, i, j));
        }
    }
    matches.into_iter().map(|(iou, ..)| iou).collect()
}

fn iou(one: &BoundingBox, other: &BoundingBox) -> f64 {
    let area =
        |x1: f32, y1: f32, x2: f32, y2: f32| f64::from((x2 - x1).max(0.0)) * f64::from((y2 - y1).max(0.0));
    let shared = area(
        one.x1.max(other.x1),
        one.y1.max(other.y1),
        one.x2.min(other.x2),
        one.y2.min(other.y2),
    );
    let [first, second] = [one, other].map(|bbox| area(bbox.x1, bbox.y1, bbox.x2, bbox.y2));
    if shared > 0.0 {
        shared / (first + second - shared)
    } else {
        0.0
    }
}
