//! What every Florence-2 deployment has in common, as data: [tasks and their prompts](tasks),
//! [special tokens](tokens), the [file and tensor names](graphs) of the ONNX layouts, and those of the [files](files) beside them.
//!
//! Both sides read it: `florence2-export`, which writes deployments, and `florence2`, which runs them.
#![warn(missing_docs)]

pub mod files;
pub mod graphs;
pub mod tasks;
pub mod tokens;
