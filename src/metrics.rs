//! Where the time went.

use std::time::{Duration, Instant};

use serde::Serialize;

/// Time spent in each stage of one answer, in seconds. Stages shared by several answers (preprocessing and
/// vision of one image, the generation of several sequences) are counted in each of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Timings {
    /// Resizing and normalising the image.
    pub preprocess: f64,
    /// The vision encoder.
    pub vision_encoder: f64,
    /// The embedding of the prompt and the text encoder.
    pub text_encoder: f64,
    /// All decoder steps and the search.
    pub generation: f64,
    /// Reading the answer.
    pub postprocess: f64,
    /// Of all this, what was spent within ONNX Runtime.
    pub runtime: f64,
    /// Tokens generated, over all sequences of the answer's request.
    pub generated_tokens: usize,
}

impl Timings {
    /// All stages together, in seconds.
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

/// Runs `work` and adds what it took to `seconds`.
pub(crate) fn timed<T>(seconds: &mut f64, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    *seconds += Duration::as_secs_f64(&start.elapsed());
    result
}
