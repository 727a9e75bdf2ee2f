//! [Florence-2](https://arxiv.org/abs/2311.06242) on ONNX Runtime: captions, object detection, OCR, grounding and
//! segmentation, with the answers of Hugging Face `transformers`.
//!
//! ```no_run
//! use florence2::{Florence2, LoadOptions, Task};
//!
//! let model = Florence2::from_pretrained("onnx-community/Florence-2-base-ft", LoadOptions::default())?;
//! let image = florence2::load_image("street.jpg")?;
//! let output = model.run(&image, &Task::ObjectDetection)?;
//! for object in output.parsed.detections() {
//!     println!("{} at {}", object.label, object.bbox);
//! }
//! # Ok::<(), florence2::Error>(())
//! ```
//!
//! [`Florence2`] is the engine, a [`Task`] the request, an [`Output`] the answer. The stages are modules that can be used by
//! themselves: [`preprocess`] (images to pixel values), [`generation`] (logits to tokens), [`postprocess`] (text to typed
//! results), [`bundle`] (a model's files), [`runtime`] (ONNX Runtime) and `hub` (models on a hub; a default feature).
//!
//! ONNX Runtime's official builds send telemetry to Microsoft, unless `ORT_DISABLE_TELEMETRY=1` is in the environment before
//! the library is loaded. This crate sets it if the process has only one thread by then; other programs call
//! [`runtime::disable_telemetry`] first in `main`, or set it before they start.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![warn(missing_docs)]
#![warn(clippy::print_stdout, clippy::print_stderr)]
#![cfg_attr(
    not(test),
    warn(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable)
)]

pub mod bundle;
mod bytes;
mod cache;
mod cancel;
mod decode;
#[cfg(feature = "demo")]
pub mod demo;
mod device;
#[cfg(feature = "draw")]
pub mod draw;
mod error;
mod fs;
pub mod generation;
mod geometry;
#[cfg(feature = "hub")]
mod http;
#[cfg(feature = "hub")]
pub mod hub;
mod metrics;
mod model;
mod operators;
mod options;
mod output;
mod per_part;
pub mod postprocess;
pub mod preprocess;
mod prompt;
mod repair;
pub mod runtime;
mod session;
mod settings;
mod task;
mod tensor_file;
mod tokenizer;

pub use bundle::{Bundle, BundleSource};
pub use cache::{CacheContent, CacheEntry, cache_dir, cache_entries};
pub use cancel::CancelToken;
pub use error::{Cause, Error, Result};
pub use geometry::{BoundingBox, ImageSize, LocationBox, Point, Polygon, Quad};
#[cfg(feature = "hub")]
pub use hub::{HubOptions, ModelId};
pub use metrics::Timings;
pub use model::{Florence2, ImageFeatures, ImageInput};
pub use options::{LoadOptions, RunOptions};
pub use output::{CoordinateFormat, Detection, OcrRegion, Output, Parsed, Segmentation};
pub use per_part::{PartValue, PerPart};
pub use preprocess::{
    ImageBackend, ImageLimits, ImageProcessor, PixelValues, decode_image, decode_image_with, load_image,
    load_image_with,
};
#[cfg(feature = "hub")]
pub use preprocess::{UrlLimits, load_image_url, load_image_url_with};
pub use repair::{Repair, repair_deployment};
pub use task::{OutputKind, Region, TASKS, Task, TaskInput, TaskKind, TaskSpec};
pub use tokenizer::{DecodedText, TextStream, Tokenizer};

/// The crates whose types appear in this crate's interface: a new major version of one of them is a new major version of
/// this crate, and so is a new release candidate of `ort` 2.0. Types of `ort` appear only where an application passes its own
/// session or environment, and in [`runtime::build_session`], which returns a session.
pub use {image, ndarray, ort};

/// Compiles the programs of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
