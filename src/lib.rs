//! Florence-2 on ONNX Runtime.
#![warn(missing_docs)]

#[cfg(feature = "draw")]
pub mod draw;
mod error;
pub mod generation;
mod geometry;
mod output;
pub mod preprocess;
mod task;

pub use error::{Cause, Error, Result};
pub use geometry::{BoundingBox, ImageSize, LocationBox, Point, Polygon, Quad};
pub use output::{Detection, OcrRegion, Parsed, Segmentation};
pub use preprocess::{ImageLimits, ImageProcessor, PixelValues, decode_image, load_image};
pub use task::{OutputKind, Region, TASKS, Task, TaskInput, TaskKind, TaskSpec};
