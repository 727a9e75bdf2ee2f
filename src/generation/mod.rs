//! From logits to token sequences: the loop, beam search, greedy search and sampling, logits processors,
//! stopping. It knows the [`Decoder`] trait, not ONNX Runtime.
//!
//! Tokens and scores are those of transformers' `generate` (5.24.0), with these exceptions: lengths are not limited
//! to 20 tokens by default; sequences that end by themselves are marked, and not padded; where the settings leave no
//! token to choose from, beam search gives fewer sequences instead of going on with impossible ones; random numbers
//! are others than torch's.

/// What messages call the decoder, of which no more than the trait is known here.
pub(crate) const DECODER: &str = "decoder";

mod batch;
mod checkpoint;
mod config;
mod decoder;
mod generate;
mod hooks;
mod logits;
mod math;
mod options;
mod processors;
mod random;
mod search;
mod sequence;
mod warpers;

#[cfg(test)]
mod tests;

pub use config::{EarlyStopping, GenerationConfig};
pub use decoder::Decoder;
pub use generate::generate;
pub use hooks::Hooks;
pub use logits::{BestLogits, BestRow, Logits};
pub use options::GenerationOptions;
pub use processors::{LogitsProcessor, LogitsProcessors};
pub use sequence::Sequence;
