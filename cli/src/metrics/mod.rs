//! Metrics of two answers, or of an answer and the truth: matching of instances, overlap of shapes, distance of texts.

mod content;
mod matching;
mod overlap;
mod ratio;
mod text;

pub use content::{Content, bounding_box, content};
pub use ratio::Ratio;
pub use text::{character_errors, normalise, without_locations};
