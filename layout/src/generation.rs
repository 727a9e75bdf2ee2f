//! How the published checkpoints search, for those that do not say.

/// Settings of transformers' `generate`, as `generation_config.json` of `Florence-2-base` has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublishedSearch {
    /// Beams.
    pub num_beams: usize,
    /// No n-gram of this size twice.
    pub no_repeat_ngram_size: usize,
    /// Whether beam search stops as soon as it has as many finished sequences as beams.
    pub early_stopping: bool,
    /// The first token generated: `<s>`.
    pub forced_bos_token_id: u32,
    /// The last token of a sequence that reaches the length limit: `</s>`.
    pub forced_eos_token_id: u32,
}

/// The published models' settings.
pub const PUBLISHED_SEARCH: PublishedSearch = PublishedSearch {
    num_beams: 3,
    no_repeat_ngram_size: 3,
    early_stopping: true,
    forced_bos_token_id: 0,
    forced_eos_token_id: 2,
};
