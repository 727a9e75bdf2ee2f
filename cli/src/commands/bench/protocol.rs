//! What the benchmark and its workers say to each other: a JSON object a line.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What a worker is asked, on its stdin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Request {
    /// Start ONNX Runtime and load the model.
    Load,
    /// Answer the task about a batch of pictures.
    Run,
}

/// What it says, on its stdout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    Loaded(Loaded),
    Ran(Ran),
    /// Why it could not.
    Error(String),
}

/// How a model was loaded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Loaded {
    /// For ONNX Runtime and the model.
    pub seconds: f64,
    /// The file of each graph.
    pub graphs: BTreeMap<String, String>,
    /// Where the graphs' nodes run; `None` where the engine does not say.
    pub placement: Option<Placement>,
}

/// How many nodes run on each execution provider, by graph.
pub type Placement = BTreeMap<String, BTreeMap<String, usize>>;

/// How a batch went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ran {
    pub sample: Sample,
    /// The most bytes of memory that the worker has had so far, if the system says.
    pub peak_memory: Option<u64>,
}

/// The seconds that a batch took, as a whole and by stage. All stages are those of the whole batch.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// From decoded pictures to parsed answers.
    pub end_to_end: f64,
    pub preprocess: f64,
    pub vision_encoder: f64,
    pub text_encoder: f64,
    /// The decoder and the search.
    pub generation: f64,
    pub postprocess: f64,
    /// `generation` by the tokens of an answer: a step of the whole batch.
    pub token: f64,
}
