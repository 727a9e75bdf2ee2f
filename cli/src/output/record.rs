//! One JSON object for each image and task.

use florence2::{CoordinateFormat, ImageSize, Output, Task, Timings};
use serde::Serialize;
use serde_json::Value;

/// What `run` says about one image and one task.
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
    /// All of them, the best one too, where several were asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    sequences: Vec<SequenceRecord<'a>>,
    timings: Timings,
}

/// One sequence, as generated and as read.
#[derive(Debug, Serialize)]
struct SequenceRecord<'a> {
    result: Value,
    scores: Vec<Option<f32>>,
    raw_text: &'a str,
    token_ids: &'a [u32],
    score: f32,
    truncated: bool,
}

/// An image, or a task on it, that failed.
#[derive(Debug, Serialize)]
pub struct FailureRecord {
    /// The image's path or address.
    pub path: String,
    /// The task's tag; `None` if the image itself could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// The error and its causes.
    pub error: String,
}

impl<'a> OutputRecord<'a> {
    /// The record of an image's and a task's answers, the best first; `None` if there is none.
    pub fn new(path: &'a str, answers: &'a [Output], coordinates: CoordinateFormat) -> Option<Self> {
        let best = answers.first()?;
        let sequences = match answers {
            [_] => Vec::new(),
            all => all
                .iter()
                .map(|output| SequenceRecord::new(output, coordinates))
                .collect(),
        };
        Some(Self {
            path,
            width: best.image_size.width,
            height: best.image_size.height,
            task: best.task.tag(),
            input: input(&best.task, best.image_size),
            best: SequenceRecord::new(best, coordinates),
            sequences,
            timings: best.timings,
        })
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

/// The task's text or region (as location tokens), if it takes one.
fn input(task: &Task, size: ImageSize) -> Option<String> {
    task.input(size).ok().filter(|input| !input.is_empty())
}
