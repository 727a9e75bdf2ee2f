//! From logits to token sequences: the loop, beam search, greedy search and sampling, logits processors,
//! stopping. It knows the [`Decoder`] trait, not ONNX Runtime.

mod decoder;

pub use decoder::Decoder;
