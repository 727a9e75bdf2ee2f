//! The JSON records of results.

use florence2::{CoordinateFormat, ImageSize, Output, Task, Timings};
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
    raw_text: &'a str,
    token_ids: &'a [u32],
    score: f32,
    truncated: bool,
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
    pub fn new(path: &'a str, best: &'a Output, coordinates: CoordinateFormat) -> Self {
        let sequences = if best.alternatives.is_empty() {
            Vec::new()
        } else {
            let sequences = best.sequences();
            sequences
                .map(|output| SequenceRecord::new(output, coordinates))
                .collect()
        };
        Self {
            path,
            width: best.image_size.width,
            height: best.image_size.height,
            task: best.task.tag(),
            input: input(&best.task, best.image_size),
            best: SequenceRecord::new(best, coordinates),
            sequences,
            timings: best.timings,
        }
    }
}

impl<'a> SequenceRecord<'a> {
    fn new(output: &'a Output, coordinates: CoordinateFormat) -> Self {
        Self {
            result: output.parsed.to_transformers(output.task.tag(), coordinates),
            scores: output.parsed.scores(),
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
