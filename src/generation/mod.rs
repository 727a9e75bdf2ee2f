//! From logits to token sequences: the loop, beam search, greedy search and sampling, logits processors,
//! stopping. It knows the [`Decoder`] trait, not ONNX Runtime.
//!
//! Tokens and scores are those of transformers' `generate` (5.24.0), with these exceptions: lengths are not limited
//! to 20 tokens by default; sequences that end by themselves are marked, and not padded; where the settings leave no
//! token to choose from, beam search gives fewer sequences instead of continuing with impossible ones; random numbers
//! differ from torch's.

/// The name of the decoder's graph in errors.
pub(crate) const DECODER: &str = "decoder";

/// Returns the error of a decoder that breaks a rule of its [trait](Decoder).
pub(crate) fn invalid_decoder(reason: String) -> crate::error::Error {
    crate::error::Error::InvalidGraph {
        graph: DECODER.to_owned(),
        reason,
    }
}

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
mod searches;
mod sequence;
mod top_k_logits;
mod warpers;

#[cfg(test)]
mod tests;

pub use config::{EarlyStopping, GenerationConfig};
pub use decoder::Decoder;
pub use generate::generate;
pub use hooks::Hooks;
pub use logits::Logits;
pub use options::GenerationOptions;
pub use processors::{LogitsProcessor, LogitsProcessors};
pub use sequence::Sequence;
pub use top_k_logits::{TopKLogits, TopKRow};
