//! How alike two answers are, or an answer and the truth: which instances match, by how much shapes overlap, how texts
//! differ.
#![warn(missing_docs)]

mod matching;
mod overlap;
mod shapes;
mod text;

pub use matching::{THRESHOLD, pairs};
pub use overlap::{box_iou, mask_iou, quad_iou};
pub use shapes::{Labelled, boxes, polygons, quads};
pub use text::{character_errors, normalise, without_locations};
