//! The requests of the protocol.

use std::path::PathBuf;

use serde::Deserialize;

/// A request; its name is in the field `do`.
#[derive(Debug, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Request {
    /// Load the model.
    Load {
        /// The model's folder.
        model: PathBuf,
        /// Intra-op threads.
        threads: usize,
    },
    /// Read and encode an image for the stages, without measuring.
    Prepare {
        /// The image file.
        image: PathBuf,
    },
    /// Measure from pixel values to features.
    Vision,
    /// Measure from features and prompt to the encoder's states.
    TextEncoder,
    /// Measure from the encoder's states to tokens.
    Generate(Search),
    /// Measure from an image file to tokens and the parsed answer.
    Answer {
        /// The image file.
        image: PathBuf,
        /// The search of the answer.
        #[serde(flatten)]
        search: Search,
    },
    /// Measure another task on the prepared image, from features to the parsed answer.
    SecondTask(Search),
}

/// A search of a fixed length.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Search {
    /// Beams; 1 is greedy.
    pub beams: usize,
    /// New tokens, exactly.
    pub tokens: usize,
}
