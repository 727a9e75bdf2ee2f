//! What a worker can be asked.

use std::path::PathBuf;

use serde::Deserialize;

/// A request; its name is in the field `do`.
#[derive(Debug, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Request {
    /// Load the model.
    Load {
        /// Its folder.
        model: PathBuf,
        /// Threads to compute with.
        threads: usize,
    },
    /// Read and encode an image, without measuring: what the stages work on.
    Prepare {
        /// Its file.
        image: PathBuf,
    },
    /// Pixel values to features.
    Vision,
    /// Features and prompt to what the decoder needs.
    TextEncoder,
    /// What the decoder needs to tokens.
    Generate(Search),
    /// An image file to tokens and the parsed answer.
    Answer {
        /// The image's file.
        image: PathBuf,
        /// How to search.
        #[serde(flatten)]
        search: Search,
    },
    /// Another task on the prepared image: features to tokens and the parsed answer.
    SecondTask(Search),
}

/// A search of a fixed length.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Search {
    /// Beams; 1 is greedy.
    pub beams: usize,
    /// New tokens: no fewer, no more.
    pub tokens: usize,
}
