//! Facts about Florence-2 deployments that `florence2-export`, which writes them, and `florence2`, which runs them, share.
//!
//! An internal crate of the two: its API may change in any release.
//!
//! | | |
//! |---|---|
//! | [`tasks`] | the fifteen tasks: tags, prompts, inputs, kinds of answers |
//! | [`tokens`], [`tokenizer`] | special tokens, and the tokenizer's files |
//! | [`graphs`], [`file_names`] | the graphs of each layout, their tensors and files, and the parser of file names |
//! | [`names`] | the names of files and tensors in deployments of other exporters |
//! | [`dtypes`], [`image_size`] | dtypes and their suffixes, input sizes |
//! | [`files`], [`generation`] | the files beside the graphs, and the generation settings in force |
//! | [`onnx`], [`operators`] | ONNX's protobuf schema, and the custom operators |
//!
//! ```
//! use florence2_layout::dtypes::Dtype;
//! use florence2_layout::file_names::GraphFileName;
//! use florence2_layout::graphs::GraphFile;
//! use florence2_layout::names::DeploymentNames;
//!
//! let file = GraphFileName::parse("decoder_model_merged_q4.onnx", &DeploymentNames::default());
//! assert_eq!(file.map(|file| (file.graph, file.dtype)), Some((GraphFile::DecoderModelMerged, Dtype::Q4)));
//! ```
#![warn(missing_docs)]

pub mod dtypes;
pub mod file_names;
pub mod files;
pub mod generation;
pub mod graphs;
pub mod image_size;
pub mod names;
pub mod onnx;
pub mod operators;
mod setters;
pub mod tasks;
pub mod tokenizer;
pub mod tokens;
