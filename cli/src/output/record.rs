//! The JSON records of results.

use florence2::{CoordinateFormat, ImageSize, Mask, Output, Task, Timings};
use serde::Serialize;
use serde_json::Value;

/// The record of an image and a task.
#[derive(Debug, Serialize)]
pub struct OutputRecord<'a> {
    path: &'a str,
    width: u32,
    height: u32,
    task: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    input: Option<String>,
    #[serde(flatten)]
    best: SequenceRecord<'a>,
    /// All sequences, the best one included, if several were requested.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    sequences: Vec<SequenceRecord<'a>>,
    timings: Timings,
}

/// A sequence with its parsed result.
#[derive(Debug, Serialize)]
struct SequenceRecord<'a> {
    result: Value,
    scores: Vec<Option<f32>>,
    /// The masks of the outlines, in the order of `result`, if they were requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    masks: Option<Vec<RleRecord>>,
    raw_text: &'a str,
    token_ids: &'a [u32],
    score: f32,
    truncated: bool,
}

/// COCO's compressed run-length encoding of a mask.
#[derive(Debug, Serialize)]
struct RleRecord {
    /// Height and width.
    size: [u32; 2],
    counts: String,
}

impl From<Mask> for RleRecord {
    fn from(mask: Mask) -> Self {
        Self {
            size: [mask.size().height, mask.size().width],
            counts: mask.coco_counts(),
        }
    }
}

/// How answers are written.
#[derive(Debug, Clone, Copy)]
pub struct RecordForm {
    /// How coordinates are written.
    pub coordinates: CoordinateFormat,
    /// Whether outlines have masks.
    pub masks: bool,
}

/// The record of an image, or a task on it, that failed.
#[derive(Debug, Serialize)]
pub struct FailureRecord {
    /// The image.
    pub path: String,
    /// The task, `None` if the image itself failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// The message.
    pub error: String,
}

impl<'a> OutputRecord<'a> {
    /// Returns the record of an answer with its alternatives.
    pub fn new(path: &'a str, best: &'a Output, form: RecordForm) -> Self {
        let sequences = if best.alternatives.is_empty() {
            Vec::new()
        } else {
            let sequences = best.sequences();
            sequences
                .map(|output| SequenceRecord::new(output, form))
                .collect()
        };
        Self {
            path,
            width: best.image_size.width,
            height: best.image_size.height,
            task: best.task.tag(),
            input: input(&best.task, best.image_size),
            best: SequenceRecord::new(best, form),
            sequences,
            timings: best.timings,
        }
    }
}

impl<'a> SequenceRecord<'a> {
    fn new(output: &'a Output, form: RecordForm) -> Self {
        let outlines = output.parsed.segmentations().iter();
        let masks = || {
            outlines
                .map(|outline| outline.mask(output.image_size).into())
                .collect()
        };
        Self {
            result: output.parsed.to_transformers(output.task.tag(), form.coordinates),
            scores: output.parsed.scores(),
            masks: form.masks.then(masks),
            raw_text: &output.raw_text,
            token_ids: &output.token_ids,
            score: output.score,
            truncated: output.truncated,
        }
    }
}

/// Returns the task's text or region (as location tokens), `None` if it takes neither.
fn input(task: &Task, size: ImageSize) -> Option<String> {
    task.input(size).ok().filter(|input| !input.is_empty())
}
