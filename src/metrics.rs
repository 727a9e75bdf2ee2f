//! Timings.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;

/// The time spent in each stage of an answer, in seconds. Stages that several answers share (preprocessing and vision of an
/// image, the generation of several sequences) count for each of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Timings {
    /// Seconds of image preprocessing.
    pub preprocess: f64,
    /// Seconds of the vision encoder.
    pub vision_encoder: f64,
    /// Seconds of the prompt's embedding and the text encoder.
    pub text_encoder: f64,
    /// Seconds of the decoder's steps and the search.
    pub generation: f64,
    /// Seconds of parsing the answer's text.
    pub postprocess: f64,
    /// The seconds of the above that were spent in ONNX Runtime.
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

/// A sum of durations. Clones share it, so that several parts of a request can add to it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stopwatch {
    nanoseconds: Arc<AtomicU64>,
}

impl Stopwatch {
    /// Does `work` and adds the time that it took.
    pub(crate) fn time<T>(&self, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = work();
        let elapsed = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(elapsed, Ordering::Relaxed);
        result
    }

    /// Returns the sum, in seconds.
    pub(crate) fn seconds(&self) -> f64 {
        Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed)).as_secs_f64()
    }
}
