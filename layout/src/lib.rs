//! Facts about Florence-2 deployments that `florence2-export`, which writes them, and `florence2`, which runs them, share:
//! [tasks and their prompts](tasks), [special tokens](tokens) and the [`tokenizer`], the [file and tensor names](graphs) of
//! the ONNX layouts and their [parser](file_names), the ONNX [protobuf schema](onnx) and [operators], [dtypes], [image
//! sizes](image_size), [files] beside the graphs, and [generation settings](generation).
//!
//! An internal crate of the two: its API may change in any release.
#![warn(missing_docs)]

pub mod dtypes;
pub mod file_names;
pub mod files;
pub mod generation;
pub mod graphs;
pub mod image_size;
pub mod onnx;
pub mod operators;
mod setters;
pub mod tasks;
pub mod tokenizer;
pub mod tokens;
