//! Florence-2 on ONNX Runtime.
#![warn(missing_docs)]

mod error;
pub mod generation;
mod geometry;
mod output;
pub mod postprocess;
mod task;

pub use error::{Cause, Error, Result};
pub use geometry::{BoundingBox, ImageSize, LocationBox, Point, Polygon, Quad};
pub use output::{CoordinateFormat, Detection, OcrRegion, Parsed, Segmentation};
pub use task::{OutputKind, Region, TASKS, Task, TaskInput, TaskKind, TaskSpec};
