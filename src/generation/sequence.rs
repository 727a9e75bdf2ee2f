//! Generated sequences.

/// A generated sequence of tokens with its score.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Sequence {
    /// The tokens after the decoder's start token, in order, the end token included, without padding.
    pub token_ids: Vec<u32>,
    /// Each token's log-probability after the logits processors, as long as `token_ids`; 0 for forced tokens.
    /// These are transformers' `compute_transition_scores`, with `normalize_logits` where there are no beams.
    pub token_log_probs: Vec<f32>,
    /// The sum of `token_log_probs` divided by the number of tokens to the power of `length_penalty`: transformers'
    /// `sequences_scores` for beam search, and the same quantity for greedy search and sampling.
    pub score: f32,
    /// Whether the model ended the sequence with an end token. If not, the length limit or the caller cut it off.
    pub finished: bool,
}
