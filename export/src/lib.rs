//! Florence-2 checkpoints to ONNX graphs.
#![warn(missing_docs)]

/// What can go wrong while exporting.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {}
