//! Exports Florence-2 checkpoints (safetensors) to ONNX graphs and the other files of a deployment, without Python.
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
//! A checkpoint may have the weight names of transformers or of Microsoft, f32, f16 or bf16 weights, one file or shards.
//! [`Target::Plain`] exports the six graphs of the onnx-community layout, in all its [dtypes](Dtype). [`Target::Cpu`] exports
//! the three graphs of the fused layout, for ONNX Runtime on a CPU, in fp32, int8 and q4; [`Target::Cuda`] the same three for
//! GPUs, in fp32 and fp16.
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
pub use error::{Error, Result};
pub use export::{Report, export, export_config_files, export_graph_bytes};
pub use florence2_layout::dtypes::Dtype;
pub use florence2_layout::files::TOKENIZER_FILES;
pub use florence2_layout::graphs::GraphFile;
pub use florence2_layout::image_size::ImageSize;
pub use options::ExportOptions;
pub use random::{RandomOptions, RandomSize, random_checkpoint};
pub use target::{Target, UnknownTarget};
