//! What every Florence-2 deployment has in common, as data: [tasks and their prompts](tasks), [special
//! tokens](tokens) and the [`tokenizer`] that has them, the [file and tensor names](graphs) of the ONNX layouts ([as they
//! are read](file_names)), their [protobuf schema](onnx) and the [types](dtypes) of their numbers, the [names of
//! the files](files) beside them, and [how the published models search](generation).
//!
//! Both sides read it: `florence2-export`, which writes deployments, and `florence2`, which runs them.
#![warn(missing_docs)]

pub mod dtypes;
pub mod file_names;
pub mod files;
pub mod generation;
pub mod graphs;
pub mod image_size;
pub mod onnx;
pub mod operators;
pub mod tasks;
pub mod tokenizer;
pub mod tokens;
