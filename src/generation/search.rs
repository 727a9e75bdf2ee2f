//! The [`Search`] of one input, and the workspace that all searches of a generation loop share.

mod beam;
mod independent;
mod top_k;

use std::borrow::Cow;

use ndarray::ArrayView1;

use self::beam::BeamSearch;
use self::independent::IndependentSearch;
use super::DECODER;
use super::config::GenerationConfig;
use super::logits::Logits;
use super::math::{LogSumExp, are_numbers, log_softmax_of, log_sum_exp};
use super::processors::{LogitsProcessors, ProcessorChain};
use super::sequence::Sequence;
use super::top_k_logits::TopKRow;
use crate::error::{Error, Result};

/// The search for one input's sequences. It starts with one row of the decoder, which is fed the start token.
pub(super) trait Search {
    /// Returns the rows of the next step; none if the search is done, one before the first step.
    fn next(&self) -> &[Continuation];

    /// Chooses the next tokens by the logits of this search's rows, `next().len()`.
    ///
    /// # Errors
    /// [`Error::NotFinite`]; errors of ONNX Runtime, if logits are copied from a device's memory.
    fn advance(&mut self, logits: Logits<'_>, workspace: &mut Workspace) -> Result<()>;

    /// Appends `token`, with log-probability 0, to every row.
    fn force(&mut self, token: u32);

    /// Returns the token chosen last, if the search has one row only.
    fn last_token(&self) -> Option<u32>;

    /// Ends the search with the tokens chosen so far.
    fn stop(&mut self);

    /// Takes the sequences out, the best first.
    fn take_sequences(&mut self) -> Vec<Sequence>;
}

/// A row of the next step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Continuation {
    /// The row that this row continues: its index among the search's rows of the last step.
    pub parent: usize,
    /// The token that the row is fed.
    pub token: u32,
}

/// The processors and memory that all searches of a loop share.
pub(super) struct Workspace {
    processors: ProcessorChain,
    /// Whether the processors only ban tokens, so that the highest scores stay the highest.
    only_bans: bool,
    /// Scores of one row, `[vocabulary]`.
    scores: Vec<f32>,
}

impl Workspace {
    pub fn new(config: &GenerationConfig, request: LogitsProcessors) -> Self {
        Self {
            only_bans: config.only_bans_tokens() && request.is_empty(),
            processors: ProcessorChain::new(config, request),
            scores: Vec::new(),
        }
    }

    /// Returns the scores that were loaded last, `[vocabulary]`.
    pub fn scores(&self) -> &[f32] {
        &self.scores
    }

    /// Loads a row's logits, and applies the processors for the sequence `tokens`. Returns `ln Σ exp(x)` of the
    /// result. With top-k logits, the scores of other tokens may be too low.
    pub fn load_logits(&mut self, logits: Logits<'_>, row: usize, tokens: &[u32]) -> Result<LogSumExp> {
        if let Some((top_k, log_sum_exp)) = self.top_k_row(logits, row) {
            top_k.fill(&mut self.scores, logits.vocabulary(), f32::MIN, |logit| logit);
            self.processors.process(tokens, &mut self.scores)?;
            // A banned token, whichever it is, changes the sum.
            if !self.scores.contains(&f32::NEG_INFINITY) {
                return Ok(log_sum_exp);
            }
        }
        let logits = logits.row(row)?;
        let logits = checked(&logits)?;
        self.scores.clear();
        self.scores.extend_from_slice(&logits);
        self.processors.process(tokens, &mut self.scores)?;
        let processed = log_sum_exp(&self.scores);
        // The processors may ban all tokens; the model may not.
        if processed.is_impossible() && log_sum_exp(&logits).is_impossible() {
            return Err(not_finite());
        }
        Ok(processed)
    }

    /// Loads a row's log-probabilities, and applies the processors for the sequence `tokens`. With top-k logits, the
    /// scores of other tokens may be too low, but the best `wanted` scores are exact, also with `bonus` added.
    pub fn load_log_probs(
        &mut self,
        logits: Logits<'_>,
        row: usize,
        tokens: &[u32],
        (wanted, bonus): (usize, f32),
    ) -> Result<()> {
        if let Some((top_k, log_sum_exp)) = self.top_k_row(logits, row) {
            let log_prob = |logit| log_sum_exp.normalize(logit);
            top_k.fill(&mut self.scores, logits.vocabulary(), f32::NEG_INFINITY, log_prob);
            self.processors.process(tokens, &mut self.scores)?;
            let floor = top_k.logits.last().copied().map_or(f32::INFINITY, log_prob) + bonus;
            if top_k.suffices(&self.scores, wanted, floor, bonus) {
                return Ok(());
            }
        }
        let logits = logits.row(row)?;
        if log_softmax_of(&checked(&logits)?, &mut self.scores).is_impossible() {
            return Err(not_finite());
        }
        self.processors.process(tokens, &mut self.scores)?;
        Ok(())
    }

    /// Returns the top-k logits of a row, if they may suffice.
    fn top_k_row<'a>(&self, logits: Logits<'a>, row: usize) -> Option<(TopKRow<'a>, LogSumExp)> {
        let top_k = logits.top_k_row(row).filter(|_| self.only_bans)?;
        Some((top_k, top_k.log_sum_exp()?))
    }
}

/// Returns a row's logits, contiguous, after a check for NaN and ∞.
fn checked<'a>(logits: &'a ArrayView1<'_, f32>) -> Result<Cow<'a, [f32]>> {
    let logits = match logits.as_slice() {
        Some(logits) => Cow::Borrowed(logits),
        None => Cow::Owned(logits.to_vec()),
    };
    if are_numbers(&logits) {
        Ok(logits)
    } else {
        Err(not_finite())
    }
}

/// The error of logits that are NaN or ∞, or all -∞. A model may ban single tokens by -∞.
fn not_finite() -> Error {
    Error::NotFinite {
        graph: DECODER.to_owned(),
        output: "logits".to_owned(),
    }
}

/// Returns the search of `config`.
pub(super) fn new(config: &GenerationConfig) -> Box<dyn Search + '_> {
    if config.uses_beams() {
        Box::new(BeamSearch::new(config))
    } else {
        Box::new(IndependentSearch::new(config))
    }
}

/// Returns the first token if it is forced, so that it can be fed together with the start token.
///
/// A forced end of sequence takes precedence if the first token is also the last. A first token that ends the sequence is left
/// to the searches.
pub(super) fn forced_first_token(config: &GenerationConfig) -> Option<u32> {
    let forced_end = config.max_new_tokens == 1 && !config.forced_eos_token_ids.is_empty();
    config
        .forced_bos_token_id
        .filter(|id| !forced_end && !config.eos_token_ids.contains(id))
}

/// Returns whether a sequence of `generated` tokens, `token` the last, was ended by the model, not by the length limit.
fn ended_by_model(config: &GenerationConfig, generated: usize, token: u32) -> bool {
    let forced = generated >= config.max_new_tokens && !config.forced_eos_token_ids.is_empty();
    config.eos_token_ids.contains(&token) && !forced
}

/// Returns the divisor of the log-probability of a sequence of `generated` tokens.
fn length_divisor(config: &GenerationConfig, generated: usize) -> f32 {
    (generated as f64).powf(config.length_penalty) as f32
}
