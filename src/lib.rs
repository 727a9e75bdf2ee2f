//! [Florence-2](https://arxiv.org/abs/2311.06242) on ONNX Runtime: captions, object detection, OCR, grounding and
//! segmentation, with the answers of Hugging Face `transformers`.
//!
//! ```no_run
//! use florence2::{Florence2, LoadOptions, Task, load_image};
//!
//! # fn main() -> florence2::Result<()> {
//! let model = Florence2::from_pretrained("onnx-community/Florence-2-base-ft", LoadOptions::default())?;
//! let image = load_image("street.jpg")?;
//!
//! let output = model.run(&image, &Task::ObjectDetection)?;
//! for object in output.parsed.detections() {
//!     println!("{} at {}", object.label, object.bbox);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! [`Florence2`] is a loaded model, of a folder or a hub; a [`Task`] is the request, an [`Output`] the answer, and
//! [`Parsed`] has its boxes, texts and outlines in pixels. A model is `Send + Sync`: share one between threads.
//!
//! # Several tasks on one image
//!
//! The vision encoder takes most of the time. Its [features](ImageFeatures) serve any number of tasks, and can be
//! [saved](ImageFeatures::save).
//!
//! ```
//! # #[cfg(feature = "demo")]
//! # fn main() -> florence2::Result<()> {
//! # use florence2::{Florence2, LoadOptions, Task};
//! # let model = Florence2::demo(LoadOptions::default())?;
//! # let image = florence2::load_image("models/demo/scenes/hotel.jpg")?;
//! let features = model.encode_image(&image)?;
//! let caption = model.run(&features, &Task::Caption)?;
//! let arrows = model.run(&features, &Task::OpenVocabularyDetection("green arrow".into()))?;
//! assert_eq!(arrows.parsed.detections().len(), 1);
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "demo"))]
//! # fn main() {}
//! ```
//!
//! # Batches and streams
//!
//! [`run_batch`](Florence2::run_batch) decodes many requests together; [`stream`](Florence2::stream) hands out the text as it
//! is generated. [`RunOptions`] has the settings of a request: search, deadline, cancellation, batch size.
//!
//! ```
//! # #[cfg(feature = "demo")]
//! # fn main() -> florence2::Result<()> {
//! # use florence2::{Florence2, LoadOptions};
//! # let model = Florence2::demo(LoadOptions::default())?;
//! # let first = florence2::load_image("models/demo/scenes/hotel.jpg")?;
//! # let second = florence2::load_image("models/demo/scenes/ring.png")?;
//! use std::ops::ControlFlow;
//! use std::time::Duration;
//!
//! use florence2::{RunOptions, Task, generation::GenerationOptions};
//!
//! let greedy = RunOptions::default()
//!     .with_generation(GenerationOptions::default().with_num_beams(1))
//!     .with_timeout(Duration::from_secs(30));
//! let outputs = model.run_batch([(&first, &Task::Caption), (&second, &Task::Ocr)], &greedy)?;
//! assert_eq!(outputs.len(), 2);
//!
//! model.stream(&first, &Task::DetailedCaption, &greedy, |text| {
//!     print!("{text}");
//!     ControlFlow::Continue(())
//! })?;
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "demo"))]
//! # fn main() {}
//! ```
//!
//! # An application's own sessions
//!
//! An application that uses [`ort`] itself passes in the process's only environment, and any sessions that it has. Types of
//! `ort` appear only there.
//!
//! ```no_run
//! use std::sync::{Arc, Mutex};
//!
//! use florence2::bundle::GraphFile;
//! use florence2::ort::session::Session;
//! use florence2::runtime::RuntimeOptions;
//! use florence2::{Florence2, LoadOptions};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let environment = florence2::ort::init_from("libonnxruntime.so")?.build()?;
//! let session = Session::builder(&environment)?.commit_from_file("DIR/onnx/vision_encoder.onnx")?;
//! let options = LoadOptions::default()
//!     .with_runtime(RuntimeOptions::default().with_environment(environment))
//!     .with_shared_session(GraphFile::VisionEncoder, Arc::new(Mutex::new(session)));
//! let model = Florence2::from_pretrained("DIR", options)?;
//! # Ok(())
//! # }
//! ```
//!
//! # Errors
//!
//! [`Error`] has a variant for each thing that a caller would handle differently; the cause is in
//! [`source`](std::error::Error::source) only. Text of the model that does not parse is not an error: what parses is returned, with
//! the [raw text](Output::raw_text).
//!
//! # Modules
//!
//! The stages can be used by themselves:
//!
//! | | |
//! |---|---|
//! | [`preprocess`] | images to pixel values, as Pillow or torchvision compute them |
//! | [`generation`] | logits to tokens: greedy search, beam search, sampling, logits processors |
//! | [`postprocess`] | text to typed results |
//! | [`bundle`] | a model's files |
//! | [`runtime`] | ONNX Runtime: finding it, devices, sessions |
//! | [`hub`] | models on a hub, and their cache |
//! | [`draw`] | annotated images |
//!
//! # Features
//!
//! | feature | default | |
//! |---|---|---|
//! | `fetch-runtime` | yes | `runtime::fetch`: downloads ONNX Runtime through pip or uv when called |
//! | `hub` | yes | models by name on a hub, images by URL |
//! | `draw` | | `draw::annotate`: annotated images |
//! | `demo` | | `Florence2::demo`: the embedded demo model (10 MB) |
//!
//! # ONNX Runtime and its telemetry
//!
//! The library of ONNX Runtime is [searched for](runtime) when the first model is loaded; with `pip install onnxruntime`, nothing
//! else is needed. Its official builds send telemetry to Microsoft, unless `ORT_DISABLE_TELEMETRY=1` is in the environment before
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
mod mask;
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
pub use mask::Mask;
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
/// session, environment or execution providers, and in [`runtime::environment`] and [`runtime::build_session`].
pub use {image, ndarray, ort};

/// Compiles the programs of the README and the guides, and runs those with the demo model.
#[cfg(all(doctest, feature = "demo", feature = "draw", feature = "hub"))]
mod pages {
    #[doc = include_str!("../README.md")]
    struct Readme;
    #[doc = include_str!("../docs/library.md")]
    struct Library;
}
