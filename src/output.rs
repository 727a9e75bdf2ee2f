//! Typed answers.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::geometry::{BoundingBox, ImageSize, Point, Polygon, Quad, shortest};
use crate::mask::Mask;
use crate::metrics::Timings;
use crate::task::Task;

/// An object's box and label.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Detection {
    /// The object's box, in pixels of the image.
    pub bbox: BoundingBox,
    /// The object's label; empty for region proposals.
    pub label: String,
    /// The confidence, 0 to 1, if token scores are known: see [`postprocess`](crate::postprocess#scores).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f32>,
}

/// A line of text and its quadrilateral.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct OcrRegion {
    /// The text line's corners, in pixels of the image.
    pub quad: Quad,
    /// The line's text.
    pub text: String,
    /// The confidence, 0 to 1, if token scores are known: see [`postprocess`](crate::postprocess#scores).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f32>,
}

/// An object's outline, one or more polygons, and label.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Segmentation {
    /// The outline; several polygons if the object has several parts.
    pub polygons: Vec<Polygon>,
    /// The object's label; empty if the task asks for an outline only.
    pub label: String,
    /// The confidence, 0 to 1, if token scores are known: see [`postprocess`](crate::postprocess#scores).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f32>,
}

impl Detection {
    /// Creates a detection without a score.
    pub fn new(bbox: BoundingBox, label: impl Into<String>) -> Self {
        Self {
            bbox,
            label: label.into(),
            score: None,
        }
    }

    /// Sets [`score`](Self::score).
    #[must_use]
    pub fn with_score(mut self, score: impl Into<Option<f32>>) -> Self {
        self.score = score.into();
        self
    }
}

impl OcrRegion {
    /// Creates a line of text without a score.
    pub fn new(quad: Quad, text: impl Into<String>) -> Self {
        Self {
            quad,
            text: text.into(),
            score: None,
        }
    }

    /// Sets [`score`](Self::score).
    #[must_use]
    pub fn with_score(mut self, score: impl Into<Option<f32>>) -> Self {
        self.score = score.into();
        self
    }
}

impl Segmentation {
    /// Returns the pixels in the outline; `image_size` is [`Output::image_size`].
    pub fn mask(&self, image_size: ImageSize) -> Mask {
        Mask::from_polygons(&self.polygons, image_size)
    }

    /// Creates an outline without a score.
    pub fn new(polygons: impl Into<Vec<Polygon>>, label: impl Into<String>) -> Self {
        Self {
            polygons: polygons.into(),
            label: label.into(),
            score: None,
        }
    }

    /// Sets [`score`](Self::score).
    #[must_use]
    pub fn with_score(mut self, score: impl Into<Option<f32>>) -> Self {
        self.score = score.into();
        self
    }
}

/// A parsed answer, by the task's [`OutputKind`](crate::OutputKind).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "value", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Parsed {
    /// A text: captions, OCR and free prompts.
    Text(String),
    /// Boxes: object detection, dense region captions, region proposals, and phrase grounding (a detection for each
    /// phrase and box).
    Detections(Vec<Detection>),
    /// Lines of text: OCR with regions.
    OcrRegions(Vec<OcrRegion>),
    /// Outlines: segmentation.
    Segmentations(Vec<Segmentation>),
    /// Boxes or outlines: open-vocabulary detection.
    OpenVocabulary {
        /// Boxes.
        detections: Vec<Detection>,
        /// Outlines.
        segmentations: Vec<Segmentation>,
    },
}

/// The answer to a request: one generated sequence, parsed.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Output {
    /// The request's task.
    pub task: Task,
    /// The original image's size; coordinates are in its pixels.
    pub image_size: ImageSize,
    /// The parsed answer.
    pub parsed: Parsed,
    /// The generated text with special tokens, without the decoder's start token.
    pub raw_text: String,
    /// The generated tokens with `<s>` and `</s>`, without the decoder's start token.
    pub token_ids: Vec<u32>,
    /// Each token's log-probability: see [`Sequence::token_log_probs`](crate::generation::Sequence).
    pub token_log_probs: Vec<f32>,
    /// The sequence's score, transformers' `sequences_scores`: its log-probability, divided by its length to the
    /// power of the length penalty.
    pub score: f32,
    /// Whether the length limit or a streaming callback cut off the answer; the last instance may be incomplete.
    pub truncated: bool,
    /// The further sequences, the next best first, if
    /// [`num_return_sequences`](crate::generation::GenerationConfig::num_return_sequences) is above 1.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub alternatives: Vec<Output>,
    /// The time spent in each stage.
    pub timings: Timings,
}

/// How pixel coordinates are written in JSON: with their fraction, or truncated as transformers does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum CoordinateFormat {
    /// Numbers with a fraction, of the fewest digits that identify the f32.
    #[default]
    Float,
    /// Integers: the fraction is cut off, as in transformers.
    Integer,
}

impl Output {
    /// Returns this sequence and its [`alternatives`](Self::alternatives), the best first.
    pub fn sequences(&self) -> impl Iterator<Item = &Output> {
        std::iter::once(self).chain(&self.alternatives)
    }
}

impl Parsed {
    /// Returns the text of an answer in text: captions, OCR and free prompts.
    pub fn text(&self) -> Option<&str> {
        match self {
            Parsed::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Returns the boxes; none if the answer is of another kind.
    pub fn detections(&self) -> &[Detection] {
        match self {
            Parsed::Detections(detections) | Parsed::OpenVocabulary { detections, .. } => detections,
            _ => &[],
        }
    }

    /// Returns the lines of text with their quadrilaterals; none if the answer is of another kind.
    pub fn ocr_regions(&self) -> &[OcrRegion] {
        match self {
            Parsed::OcrRegions(regions) => regions,
            _ => &[],
        }
    }

    /// Returns the outlines; none if the answer is of another kind.
    pub fn segmentations(&self) -> &[Segmentation] {
        match self {
            Parsed::Segmentations(segmentations) | Parsed::OpenVocabulary { segmentations, .. } => {
                segmentations
            }
            _ => &[],
        }
    }

    /// Returns the result in the format of transformers' `post_process_generation`, under the task's
    /// [tag](crate::Task::tag): `{"<OD>": {"bboxes": [[x1, y1, x2, y2], …], "labels": […]}}`.
    ///
    /// It has no scores: see [`scores`](Self::scores).
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

    /// Returns the instances' scores in the order of the lists of [`to_transformers`](Self::to_transformers), boxes before
    /// outlines; empty for a text.
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
            CoordinateFormat::Float => Value::from(shortest(value)),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coordinates_have_the_fewest_digits() {
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
    fn parsed_answers_survive_serialization() {
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
