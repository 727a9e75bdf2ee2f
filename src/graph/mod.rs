//! The graphs of a model, each locked only while it runs.

mod decoder;
mod session;
mod tensor;
mod text_encoder;
mod vision;

pub(crate) use decoder::{DecoderModel, GraphDecoder};
pub(crate) use text_encoder::{EncoderOutput, TextEncoder, TokenEmbedding};
pub(crate) use vision::VisionEncoder;
