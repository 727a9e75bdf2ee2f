//! The settings of a search.

use std::fmt::Display;

use serde::Deserialize;

use crate::error::{Error, Result};

use super::checkpoint;

/// When beam search stops (`early_stopping` of transformers).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EarlyStopping {
    /// `false`: when the best running beam, at its present length, scores no better than the worst finished sequence.
    #[default]
    Heuristic,
    /// `true`: as soon as [`num_beams`](GenerationConfig::num_beams) sequences are finished.
    WhenFull,
    /// `"never"`: only when no running beam can beat the worst finished sequence at any length.
    Never,
}

/// The settings of a search. [`Default`] has those of transformers, except for
/// [`max_new_tokens`](Self::max_new_tokens).
///
/// Lengths count the tokens after the decoder's start token.
///
/// It deserializes from transformers' JSON names, where lengths are `max_new_tokens` and `min_new_tokens`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct GenerationConfig {
    /// The number of beams; 1 is greedy search, or plain sampling with [`do_sample`](Self::do_sample).
    pub num_beams: usize,
    /// The number of sequences returned for each input: at most [`num_beams`](Self::num_beams) with beam search, 1 with
    /// greedy search.
    pub num_return_sequences: usize,
    /// The maximum number of tokens to generate, at most [`max_positions`](Self::max_positions), which is the default
    /// (transformers' is 20).
    pub max_new_tokens: usize,
    /// The minimum number of tokens before an end token.
    pub min_new_tokens: usize,
    /// The exponent of the length by which a finished sequence's log-probability is divided: values above 0 favour long
    /// sequences, below 0 short ones.
    pub length_penalty: f64,
    /// The condition on which beam search ends an input's search.
    pub early_stopping: EarlyStopping,
    /// The size of n-grams that may occur only once in a sequence, the start token included; 0 is off.
    pub no_repeat_ngram_size: usize,
    /// The factor that lowers the scores of tokens already in the sequence; 1 is off.
    pub repetition_penalty: f64,
    /// Token sequences that are never generated.
    pub bad_words_ids: Vec<Vec<u32>>,
    /// Tokens that are never generated.
    pub suppress_tokens: Vec<u32>,
    /// Tokens that are never generated first (or second, after a forced first token).
    pub begin_suppress_tokens: Vec<u32>,
    /// The first generated token, regardless of the model's scores.
    #[serde(deserialize_with = "checkpoint::first_token_id")]
    pub forced_bos_token_id: Option<u32>,
    /// The only tokens allowed as the last of [`max_new_tokens`](Self::max_new_tokens) tokens; empty is off.
    #[serde(rename = "forced_eos_token_id", deserialize_with = "checkpoint::token_ids")]
    pub forced_eos_token_ids: Vec<u32>,
    /// The tokens that end a sequence.
    #[serde(rename = "eos_token_id", deserialize_with = "checkpoint::token_ids")]
    pub eos_token_ids: Vec<u32>,
    /// The token with which the decoder's sequence starts.
    #[serde(deserialize_with = "checkpoint::start_token_id")]
    pub decoder_start_token_id: u32,
    /// Normalizes the scores again after all logits processors.
    pub renormalize_logits: bool,
    /// Samples tokens by their probabilities instead of taking the best.
    pub do_sample: bool,
    /// Sampling: the divisor of the scores. Values below 1 sharpen the distribution, above 1 flatten it.
    pub temperature: f64,
    /// Sampling: keeps only the `top_k` best tokens; 0 is off.
    pub top_k: usize,
    /// Sampling: keeps only the best tokens that together reach this probability; 1 is off.
    pub top_p: f64,
    /// Sampling: keeps only tokens with at least this fraction of the best token's probability.
    pub min_p: Option<f64>,
    /// Sampling: keeps only the most typical tokens that together reach this probability; 1 is off.
    pub typical_p: f64,
    /// Sampling: the seed of the random numbers. Equal seeds give equal sequences.
    #[serde(skip)]
    pub seed: u64,
    /// The decoder's positions (`max_position_embeddings`): the maximum number of input tokens, the start token included.
    /// The last generated token is never an input, so this is also the maximum number of generated tokens.
    #[serde(rename = "max_position_embeddings")]
    pub max_positions: usize,
}

impl Default for GenerationConfig {
    fn default() -> Self {
        Self {
            num_beams: 1,
            num_return_sequences: 1,
            max_new_tokens: DEFAULT_MAX_POSITIONS,
            min_new_tokens: 0,
            length_penalty: 1.0,
            early_stopping: EarlyStopping::Heuristic,
            no_repeat_ngram_size: 0,
            repetition_penalty: 1.0,
            bad_words_ids: Vec::new(),
            suppress_tokens: Vec::new(),
            begin_suppress_tokens: Vec::new(),
            forced_bos_token_id: None,
            forced_eos_token_ids: Vec::new(),
            eos_token_ids: vec![DEFAULT_EOS_TOKEN_ID],
            decoder_start_token_id: DEFAULT_EOS_TOKEN_ID,
            renormalize_logits: false,
            do_sample: false,
            temperature: 1.0,
            top_k: 50,
            top_p: 1.0,
            min_p: None,
            typical_p: 1.0,
            seed: 0,
            max_positions: DEFAULT_MAX_POSITIONS,
        }
    }
}

/// `max_position_embeddings` of transformers' `BartConfig`.
const DEFAULT_MAX_POSITIONS: usize = 1024;
/// `</s>`: end and, in BART, also start of a decoder's sequence (`BartConfig`).
pub(super) const DEFAULT_EOS_TOKEN_ID: u32 = 2;
/// The maximum number of rows for one input.
const MAX_ROWS: usize = 1 << 16;

impl GenerationConfig {
    /// Returns whether the search is a beam search.
    pub fn uses_beams(&self) -> bool {
        self.num_beams > 1
    }

    /// Checks each setting, and combinations of settings.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] for the first invalid setting.
    pub fn validate(&self) -> Result<()> {
        for (name, rows) in [
            ("num_beams", self.num_beams),
            ("num_return_sequences", self.num_return_sequences),
        ] {
            let wanted = format_args!("from 1 to {MAX_ROWS}");
            require(name, rows, (1..=MAX_ROWS).contains(&rows), wanted)?;
        }
        require(
            "max_new_tokens",
            self.max_new_tokens,
            self.max_new_tokens >= 1,
            "at least 1",
        )?;
        positive("repetition_penalty", self.repetition_penalty)?;
        self.validate_sampling()?;
        let length_penalty = self.length_penalty;
        require(
            "length_penalty",
            length_penalty,
            length_penalty.is_finite(),
            "a finite number",
        )?;
        self.validate_returned()?;
        self.validate_forced()
    }

    /// Returns whether the search does not sample and its logits processors only ban or force tokens.
    pub(crate) fn only_bans_tokens(&self) -> bool {
        !self.do_sample && self.repetition_penalty == 1.0 && !self.renormalize_logits
    }

    pub(super) fn validate_sampling(&self) -> Result<()> {
        positive("temperature", self.temperature)?;
        for (name, p) in [("top_p", self.top_p), ("typical_p", self.typical_p)] {
            require(name, p, p > 0.0 && p <= 1.0, "above 0 and at most 1 (1 is off)")?;
        }
        let min_p = self.min_p.unwrap_or_default();
        require("min_p", min_p, (0.0..=1.0).contains(&min_p), "from 0 to 1")
    }

    fn validate_returned(&self) -> Result<()> {
        let (returned, beams) = (self.num_return_sequences, self.num_beams);
        let reason = if self.uses_beams() && returned > beams {
            format!("is {returned}, but there are only {beams} beams; ask for fewer, or raise num_beams")
        } else if !self.uses_beams() && !self.do_sample && returned > 1 {
            format!("is {returned}, but greedy search finds one sequence; raise num_beams or set do_sample")
        } else {
            return Ok(());
        };
        Err(invalid("num_return_sequences", reason))
    }

    /// Checks that no forced token is suppressed, which would leave no token to choose from.
    fn validate_forced(&self) -> Result<()> {
        for (name, ids) in [
            ("forced_bos_token_id", self.forced_bos_token_id.as_slice()),
            ("forced_eos_token_id", &self.forced_eos_token_ids),
        ] {
            if !ids.is_empty() && ids.iter().all(|id| self.suppress_tokens.contains(id)) {
                let reason = "is also in suppress_tokens; remove it from one of them";
                return Err(invalid(name, reason.to_owned()));
            }
        }
        Ok(())
    }
}

fn positive(name: &'static str, value: f64) -> Result<()> {
    // Scores are 32-bit floats.
    let is_valid = value > 0.0 && (value as f32).is_normal();
    require(name, value, is_valid, "a number above 0, from 1.2e-38 to 3.4e38")
}

fn require(name: &'static str, value: impl Display, is_valid: bool, wanted: impl Display) -> Result<()> {
    if is_valid {
        Ok(())
    } else {
        Err(invalid(name, format!("is {value}; it must be {wanted}")))
    }
}

fn invalid(name: &'static str, reason: String) -> Error {
    Error::InvalidOption { name, reason }
}
