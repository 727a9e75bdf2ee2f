//! Metrics of two answers, or of an answer and the truth: matching of instances, overlap of shapes, distance of texts.

mod matching;
mod overlap;
mod shapes;
mod text;

pub use matching::pairs;
pub use overlap::{box_iou, mask_iou, quad_iou};
pub use shapes::{Labelled, boxes, polygons, quads};
pub use text::{character_errors, normalise, without_locations};
