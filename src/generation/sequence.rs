//! Generated sequences.

/// A generated sequence.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Sequence {
    /// The tokens after the decoder's start token, in order, the end token included, without padding.
    pub token_ids: Vec<u32>,
    /// Each token's log-probability after the logits processors, as long as `token_ids`; 0 for forced tokens.
    /// These are transformers' `compute_transition_scores`, with `normalize_logits` where there are no beams.
    pub token_log_probs: Vec<f32>,
    /// The sum of `token_log_probs` divided by the number of tokens to the power of `length_penalty`: of beam
    /// search, transformers' `sequences_scores`; of greedy search and sampling, the same figure.
    pub score: f32,
    /// Whether an end token closed it. Otherwise it was cut off: at the length limit, or by its caller.
    pub finished: bool,
}
