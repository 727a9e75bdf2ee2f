//! Typed answers.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::geometry::{BoundingBox, Point, Polygon, Quad};

/// An object: its box and what the model calls it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Detection {
    /// Where.
    pub bbox: BoundingBox,
    /// What; empty for region proposals.
    pub label: String,
    /// Confidence, 0 to 1, where token scores were at hand: see [`postprocess`](crate::postprocess#scores).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f32>,
}

/// A line of text: where it stands and what it says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OcrRegion {
    /// Where.
    pub quad: Quad,
    /// What it says.
    pub text: String,
    /// Confidence, 0 to 1, where token scores were at hand: see [`postprocess`](crate::postprocess#scores).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f32>,
}

/// An outlined object: one or more polygons and what the model calls it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Segmentation {
    /// The outline; several polygons if the object is in several pieces.
    pub polygons: Vec<Polygon>,
    /// What; empty where the task asked for an outline only.
    pub label: String,
    /// Confidence, 0 to 1, where token scores were at hand: see [`postprocess`](crate::postprocess#scores).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f32>,
}

/// What an answer says, by the task's [`OutputKind`](crate::OutputKind).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "value", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Parsed {
    /// Captions, OCR, free prompts.
    Text(String),
    /// Object detection, dense region captions, region proposals; phrase grounding, with a detection for each
    /// phrase and box.
    Detections(Vec<Detection>),
    /// OCR with regions.
    OcrRegions(Vec<OcrRegion>),
    /// Segmentation.
    Segmentations(Vec<Segmentation>),
    /// Open-vocabulary detection, which answers with boxes or outlines.
    OpenVocabulary {
        /// Boxes.
        detections: Vec<Detection>,
        /// Outlines.
        segmentations: Vec<Segmentation>,
    },
}

/// How coordinates are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CoordinateFormat {
    /// As they are, with the fewest digits that tell an f32 from its neighbours.
    #[default]
    Float,
    /// Cut off to integers, as transformers does.
    Integer,
}

impl Parsed {
    /// The result in the shape of transformers' `post_process_generation`, under the task's
    /// [tag](crate::Task::tag): `{"<OD>": {"bboxes": [[x1, y1, x2, y2], …], "labels": […]}}`.
    ///
    /// Scores are not in it: see [`scores`](Self::scores).
    pub fn to_transformers(&self, tag: &str, format: CoordinateFormat) -> Value {
        let bboxes = |detections: &[Detection]| -> Vec<Value> {
            detections
                .iter()
                .map(|detection| coordinates(detection.bbox.to_array(), format))
                .collect()
        };
        let polygons = |segmentations: &[Segmentation]| -> Vec<Value> {
            segmentations
                .iter()
                .map(|segmentation| {
                    let polygons = segmentation.polygons.iter();
                    polygons.map(|polygon| points(&polygon.points, format)).collect()
                })
                .collect()
        };
        let result = match self {
            Parsed::Text(text) => json!(text),
            Parsed::Detections(detections) => {
                json!({ "bboxes": bboxes(detections), "labels": labels(detections, |d| &d.label) })
            }
            Parsed::OcrRegions(regions) => {
                let quads: Vec<Value> = regions
                    .iter()
                    .map(|region| points(&region.quad.points, format))
                    .collect();
                json!({ "quad_boxes": quads, "labels": labels(regions, |r| &r.text) })
            }
            Parsed::Segmentations(segmentations) => {
                json!({ "polygons": polygons(segmentations), "labels": labels(segmentations, |s| &s.label) })
            }
            Parsed::OpenVocabulary {
                detections,
                segmentations,
            } => json!({
                "bboxes": bboxes(detections),
                "bboxes_labels": labels(detections, |d| &d.label),
                "polygons": polygons(segmentations),
                "polygons_labels": labels(segmentations, |s| &s.label),
            }),
        };
        json!({ tag: result })
    }

    /// The instances' scores, in the order of the lists of [`to_transformers`](Self::to_transformers) (boxes
    /// before outlines); empty for a text.
    pub fn scores(&self) -> Vec<Option<f32>> {
        match self {
            Parsed::Text(_) => Vec::new(),
            Parsed::Detections(detections) => detections.iter().map(|d| d.score).collect(),
            Parsed::OcrRegions(regions) => regions.iter().map(|r| r.score).collect(),
            Parsed::Segmentations(segmentations) => segmentations.iter().map(|s| s.score).collect(),
            Parsed::OpenVocabulary {
                detections,
                segmentations,
            } => {
                let detections = detections.iter().map(|d| d.score);
                detections.chain(segmentations.iter().map(|s| s.score)).collect()
            }
        }
    }
}

fn labels<T>(instances: &[T], label: impl Fn(&T) -> &str) -> Vec<&str> {
    instances.iter().map(label).collect()
}

fn points(points: &[Point], format: CoordinateFormat) -> Value {
    coordinates(points.iter().flat_map(|point| [point.x, point.y]), format)
}

fn coordinates(values: impl IntoIterator<Item = f32>, format: CoordinateFormat) -> Value {
    values
        .into_iter()
        .map(|value| match format {
            CoordinateFormat::Integer => Value::from(value as i32),
            CoordinateFormat::Float => shortest(value),
        })
        .collect()
}

/// `Value` holds an f64: of all that round to this f32, the one with the fewest digits (0.3, not
/// 0.30000001192092896).
fn shortest(value: f32) -> Value {
    value.to_string().parse::<f64>().map_or(Value::Null, Value::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coordinates_have_no_more_digits_than_they_need() {
        let parsed = Parsed::Detections(vec![Detection {
            bbox: BoundingBox::new(0.3, 12.0, 639.68, 1e9),
            label: "a \"b\"".into(),
            score: Some(0.5),
        }]);
        assert_eq!(
            parsed
                .to_transformers("<OD>", CoordinateFormat::Float)
                .to_string(),
            r#"{"<OD>":{"bboxes":[[0.3,12.0,639.68,1000000000.0]],"labels":["a \"b\""]}}"#
        );
        assert_eq!(
            parsed
                .to_transformers("<OD>", CoordinateFormat::Integer)
                .to_string(),
            r#"{"<OD>":{"bboxes":[[0,12,639,1000000000]],"labels":["a \"b\""]}}"#
        );
        assert_eq!(parsed.scores(), [Some(0.5)]);
    }

    #[test]
    fn typed_answers_survive_serialisation() {
        let parsed = Parsed::OpenVocabulary {
            detections: Vec::new(),
            segmentations: vec![Segmentation {
                polygons: vec![Polygon {
                    points: vec![Point { x: 0.3, y: 1.5 }],
                }],
                label: "blob".into(),
                score: None,
            }],
        };
        let json = serde_json::to_string(&parsed).unwrap();
        assert_eq!(
            json,
            r#"{"kind":"open_vocabulary","value":{"detections":[],"segmentations":[{"polygons":[{"points":[{"x":0.3,"y":1.5}]}],"label":"blob"}]}}"#
        );
        assert_eq!(serde_json::from_str::<Parsed>(&json).unwrap(), parsed);
        let text = Parsed::Text("a cat".into());
        assert_eq!(
            serde_json::to_string(&text).unwrap(),
            r#"{"kind":"text","value":"a cat"}"#
        );
    }
}
