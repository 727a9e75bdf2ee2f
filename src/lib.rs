//! Florence-2 on ONNX Runtime.
#![warn(missing_docs)]

pub mod bundle;
mod cache;
#[cfg(feature = "demo")]
pub mod demo;
#[cfg(feature = "draw")]
pub mod draw;
mod error;
pub mod generation;
mod geometry;
mod graph;
mod metrics;
mod model;
mod options;
mod output;
pub mod postprocess;
pub mod preprocess;
mod prompt;
pub mod runtime;
mod task;
mod tokenizer;

pub use bundle::{Bundle, BundleSource};
pub use cache::cache_dir;
pub use error::{Cause, Error, Result};
pub use geometry::{BoundingBox, ImageSize, LocationBox, Point, Polygon, Quad};
pub use metrics::Timings;
pub use model::{Florence2, ImageFeatures};
pub use options::{CancelToken, LoadOptions, RunOptions};
pub use output::{CoordinateFormat, Detection, OcrRegion, Output, Parsed, Segmentation};
pub use preprocess::{ImageLimits, ImageProcessor, PixelValues, decode_image, load_image};
pub use task::{OutputKind, Region, TASKS, Task, TaskInput, TaskKind, TaskSpec};
pub use tokenizer::{DecodedText, TextStream, Tokenizer};
