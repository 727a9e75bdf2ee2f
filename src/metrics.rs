//! Timings.

use std::time::{Duration, Instant};

use serde::Serialize;

/// The time spent in each stage of an answer, in seconds. Stages that several answers share (preprocessing and vision of an
/// image, the generation of several sequences) count for each of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Timings {
    /// Image preprocessing.
    pub preprocess: f64,
    /// The vision encoder.
    pub vision_encoder: f64,
    /// The embedding of the prompt, and the text encoder.
    pub text_encoder: f64,
    /// The decoder's steps and the search.
    pub generation: f64,
    /// Parsing of the answer.
    pub postprocess: f64,
    /// The part of the above spent in ONNX Runtime.
    pub runtime: f64,
    /// The number of tokens generated for all sequences of the request.
    pub generated_tokens: usize,
}

impl Timings {
    /// Returns the sum of all stages, in seconds.
    pub fn total(&self) -> f64 {
        self.preprocess + self.vision_encoder + self.text_encoder + self.generation + self.postprocess
    }
}

/// Where the time of a decoding went, in seconds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct DecodingTimes {
    /// Encoding the inputs.
    pub(crate) text_encoder: f64,
    /// Within ONNX Runtime, in the text encoder and the decoder.
    pub(crate) runtime: f64,
}

/// Runs `work` and adds its duration to `seconds`.
pub(crate) fn timed<T>(seconds: &mut f64, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    *seconds += Duration::as_secs_f64(&start.elapsed());
    result
}
