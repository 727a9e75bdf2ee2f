//! Typed answers.

use serde::{Deserialize, Serialize};

use crate::geometry::{BoundingBox, Polygon, Quad};

/// An object: its box and what the model calls it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Detection {
    /// Where.
    pub bbox: BoundingBox,
    /// What; empty for region proposals.
    pub label: String,
    /// Confidence, 0 to 1, where token scores were at hand.
    pub score: Option<f32>,
}

/// A line of text: where it stands and what it says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OcrRegion {
    /// Where.
    pub quad: Quad,
    /// What it says.
    pub text: String,
    /// Confidence, 0 to 1, where token scores were at hand.
    pub score: Option<f32>,
}

/// An outlined object: one or more polygons and what the model calls it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Segmentation {
    /// The outline; several polygons if the object is in several pieces.
    pub polygons: Vec<Polygon>,
    /// What; empty where the task asked for an outline only.
    pub label: String,
    /// Confidence, 0 to 1, where token scores were at hand.
    pub score: Option<f32>,
}

/// What an answer says, by the task's [`OutputKind`](crate::OutputKind).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Parsed {
    /// Captions, OCR, free prompts.
    Text(String),
    /// Object detection, dense region captions, region proposals.
    Detections(Vec<Detection>),
    /// Phrase grounding: one detection per phrase and box.
    Grounding(Vec<Detection>),
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
