//! The graphs of a model, each locked only while it runs.

mod decoder;
mod decoder_model;
mod session;
mod tensor;
mod text_encoder;
mod vision;

pub(crate) use decoder::GraphDecoder;
pub(crate) use decoder_model::DecoderModel;
pub(crate) use text_encoder::{EncoderOutput, TextEncoder, TokenEmbedding};
pub(crate) use vision::VisionEncoder;
