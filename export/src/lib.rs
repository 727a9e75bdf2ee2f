//! Florence-2 checkpoints (safetensors) to ONNX graphs and the files of a deployment, without Python.
//!
//! ```no_run
//! use florence2_export::{Checkpoint, ExportOptions, export};
//!
//! let checkpoint = Checkpoint::open("Florence-2-base-ft")?;
//! let report = export(&checkpoint, "out", &ExportOptions::default())?;
//! for (file, bytes) in &report.files {
//!     println!("{bytes:>12} {}", file.display());
//! }
//! # Ok::<(), florence2_export::Error>(())
//! ```
//!
//! A checkpoint may be in transformers' naming or in Microsoft's, in f32, f16 or bf16, in one file or in shards.
//! [`Target::Plain`] gives the six graphs of the onnx-community layout, in any of the types in which such deployments
//! come, so that they run wherever that layout does. [`Target::Cpu`] gives three graphs that are made for ONNX Runtime on
//! a CPU, in 32-bit floats, 8 or 4 bits ([`Dtype`]); [`Target::Cuda`] the same three for its providers for GPUs, in 16-
//! or 32-bit floats.
//!
//! Each graph says in its `metadata_props` what it is, under `florence2.model`, `.graph`, `.target`, `.precision`,
//! `.image_size`, `.vision_depths`, `.vision_dims`, `.d_model`, `.vocab_size`, `.encoder_layers`,
//! `.decoder_layers`, `.encoder_attention_heads`, `.decoder_attention_heads` and `.exporter`.
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
pub use error::{Error, Result};
pub use export::{Report, export, export_config_files, export_graph_bytes};
pub use florence2_layout::dtypes::Dtype;
pub use florence2_layout::files::TOKENIZER_FILES;
pub use florence2_layout::graphs::GraphFile;
pub use florence2_layout::image_size::ImageSize;
pub use options::ExportOptions;
pub use random::{RandomOptions, RandomSize, random_checkpoint};
pub use target::{Target, UnknownTarget};
