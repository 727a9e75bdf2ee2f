//! Exports Florence-2 checkpoints to ONNX graphs and the other files of a deployment, without Python.
//!
//! ```no_run
//! use florence2_export::{Checkpoint, Dtype, ExportOptions, Target, export};
//!
//! # fn main() -> florence2_export::Result<()> {
//! let checkpoint = Checkpoint::open("Florence-2-base-ft")?;
//! let options = ExportOptions::default()
//!     .with_target(Target::Cpu)
//!     .with_dtype(Dtype::Int8);
//! let report = export(&checkpoint, "out", &options)?;
//! for (file, bytes) in &report.files {
//!     println!("{bytes:>12} {}", file.display());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! A checkpoint may have the weight names of transformers or of Microsoft, f32, f16 or bf16 weights, in
//! safetensors or `pytorch_model.bin` (of which no code is run), one file or shards.
//!
//! | target | graphs | dtypes |
//! |---|---|---|
//! | [`Target::Plain`] | the six of the onnx-community layout, which other engines read | all of [`Dtype`] |
//! | [`Target::Cpu`] | the three of the fused layout, for ONNX Runtime on a CPU | fp32, int8, q4 |
//! | [`Target::Cuda`] | the same three, for GPUs | fp32, fp16 |
//!
//! [`export_graph_bytes`] and [`export_config_files`] return single files in memory; [`random_checkpoint`] makes checkpoints of
//! the published sizes with random weights, for benchmarks; [`ActivationRanges`] hold what a calibration measures.
//!
//! The `metadata_props` of each graph have the keys `florence2.model`, `.graph`, `.target`, `.precision`, `.image_size`,
//! `.vision_depths`, `.vision_dims`, `.d_model`, `.vocab_size`, `.encoder_layers`, `.decoder_layers`,
//! `.encoder_attention_heads`, `.decoder_attention_heads` and `.exporter`.
#![warn(missing_docs)]

mod atomic_file;
mod bundle;
mod calibration;
mod checkpoint;
mod config;
mod error;
mod export;
mod graph;
mod layers;
mod lowering;
mod metadata;
mod model;
mod options;
mod quantize;
mod random;
mod smoothing;
mod target;
mod tensor;
mod weight_dtypes;

pub use calibration::ActivationRanges;
pub use checkpoint::Checkpoint;
pub use config::{ImageFeatureSource, ModelConfig, TextConfig, VisionConfig};
pub use error::{Error, PytorchError, Result};
pub use export::{Report, export, export_config_files, export_graph_bytes};
pub use florence2_layout::dtypes::Dtype;
pub use florence2_layout::files::TOKENIZER_FILES;
pub use florence2_layout::graphs::GraphFile;
pub use florence2_layout::image_size::ImageSize;
pub use options::ExportOptions;
pub use random::{RandomOptions, RandomSize, random_checkpoint};
pub use target::{Target, UnknownTarget};

/// Compiles the program of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
