//! What the searches have in common: one [`Search`] for each input, fed by the loop.

mod beam;
mod independent;
mod top_k;

use std::borrow::Cow;

use ndarray::ArrayView1;

use self::beam::BeamSearch;
use self::independent::IndependentSearch;
use super::DECODER;
use super::config::GenerationConfig;
use super::logits::{BestRow, Logits};
use super::math::{LogSumExp, are_numbers, log_softmax_of, log_sum_exp};
use super::processors::LogitsProcessors;
use super::sequence::Sequence;
use crate::error::{Error, Result};

/// The search for one input's sequences. It starts with one row of the decoder, fed with the start token.
pub(super) trait Search {
    /// The rows of the next step; none if the search is done. Before the first step: one.
    fn next(&self) -> &[Continuation];

    /// Chooses the next tokens by the logits of this search's rows, `next().len()`.
    ///
    /// # Errors
    /// If the logits are not numbers, or cannot be fetched.
    fn advance(&mut self, logits: Logits<'_>, workspace: &mut Workspace) -> Result<()>;

    /// Takes `token`, with log-probability 0, for every row.
    fn force(&mut self, token: u32);

    /// The token chosen last, if the search has one row only.
    fn last_token(&self) -> Option<u32>;

    /// Ends the search here.
    fn stop(&mut self);

    /// The sequences found, best first. They are gone from the search.
    fn take_sequences(&mut self) -> Vec<Sequence>;
}

/// How a row of the next step comes about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Continuation {
    /// The search's row that it continues.
    pub parent: usize,
    /// The token it is fed.
    pub token: u32,
}

/// What all searches of a loop share.
pub(super) struct Workspace {
    processors: LogitsProcessors,
    /// Whether the processors do no more than ban tokens, so that the best scores stay the best.
    only_bans: bool,
    /// Scores of one row, `[vocabulary]`.
    scores: Vec<f32>,
}

impl Workspace {
    pub fn new(config: &GenerationConfig) -> Self {
        Self {
            processors: LogitsProcessors::new(config),
            only_bans: config.only_bans_tokens(),
            scores: Vec::new(),
        }
    }

    /// The scores that were loaded last.
    pub fn scores(&self) -> &[f32] {
        &self.scores
    }

    /// Loads a row's logits as the processors leave them, for the sequence `tokens`. Where the best of them were chosen
    /// already and the processors ban none, the others may be lower than they are. Gives `ln Σ exp(x)` of what the
    /// processors leave.
    pub fn load_logits(&mut self, logits: Logits<'_>, row: usize, tokens: &[u32]) -> Result<LogSumExp> {
        if let Some((best, log_sum_exp)) = self.best_row(logits, row) {
            // A ban of any token changes the sum, and can be told from this.
            self.spread(best, logits.vocabulary(), f32::MIN, |logit| logit);
            self.processors.process(tokens, &mut self.scores);
            if !self.scores.contains(&f32::NEG_INFINITY) {
                return Ok(log_sum_exp);
            }
        }
        let logits = logits.row(row)?;
        let logits = checked(&logits)?;
        self.scores.clear();
        self.scores.extend_from_slice(&logits);
        self.processors.process(tokens, &mut self.scores);
        let processed = log_sum_exp(&self.scores);
        // The processors may ban all tokens; the model may not.
        if processed.is_impossible() && log_sum_exp(&logits).is_impossible() {
            return Err(not_finite());
        }
        Ok(processed)
    }

    /// Loads a row's log-probabilities as the processors leave them, for the sequence `tokens`. Where the best of them were
    /// chosen already, the others may be lower than they are, but not where they are among the best `wanted`, also with
    /// `bonus` added.
    pub fn load_log_probs(
        &mut self,
        logits: Logits<'_>,
        row: usize,
        tokens: &[u32],
        (wanted, bonus): (usize, f32),
    ) -> Result<()> {
        if let Some((best, log_sum_exp)) = self.best_row(logits, row) {
            let log_prob = |logit| log_sum_exp.normalize(logit);
            self.spread(best, logits.vocabulary(), f32::NEG_INFINITY, log_prob);
            self.processors.process(tokens, &mut self.scores);
            // What is left out is not above the last one, and what equals it might be a lower token.
            let last = best.logits.last().copied().map_or(f32::INFINITY, log_prob) + bonus;
            let is_best = |&&token: &&i64| {
                let score = usize::try_from(token)
                    .ok()
                    .and_then(|token| self.scores.get(token));
                score.is_some_and(|score| score + bonus > last)
            };
            let is_whole = best.tokens.len() == logits.vocabulary();
            if is_whole || best.tokens.iter().filter(is_best).count() >= wanted {
                return Ok(());
            }
        }
        let logits = logits.row(row)?;
        if log_softmax_of(&checked(&logits)?, &mut self.scores).is_impossible() {
            return Err(not_finite());
        }
        self.processors.process(tokens, &mut self.scores);
        Ok(())
    }

    /// The best logits of a row, if they were chosen already, and may be enough.
    fn best_row<'a>(&self, logits: Logits<'a>, row: usize) -> Option<(BestRow<'a>, LogSumExp)> {
        let best = logits.best_row(row).filter(|_| self.only_bans)?;
        Some((best, best.log_sum_exp()?))
    }

    /// Puts the best logits, changed by `score`, into `scores`, and `other` beside them.
    fn spread(&mut self, best: BestRow<'_>, vocabulary: usize, other: f32, score: impl Fn(f32) -> f32) {
        self.scores.clear();
        self.scores.resize(vocabulary, other);
        for (&token, &logit) in best.tokens.iter().zip(best.logits) {
            let place = usize::try_from(token).ok();
            if let Some(place) = place.and_then(|token| self.scores.get_mut(token)) {
                *place = score(logit);
            }
        }
    }
}

/// A row of logits that are numbers.
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

/// Logits that are no scores: NaN or ∞ among them, or none but -∞. A model may ban single tokens by -∞.
fn not_finite() -> Error {
    Error::NotFinite {
        graph: DECODER.to_owned(),
        output: "logits".to_owned(),
    }
}

/// The search that the settings ask for.
pub(super) fn new(config: &GenerationConfig) -> Box<dyn Search + '_> {
    if config.uses_beams() {
        Box::new(BeamSearch::new(config))
    } else {
        Box::new(IndependentSearch::new(config))
    }
}

/// The first token, where it is known without asking the model: it can be fed together with the start token.
///
/// A forced end of sequence takes precedence where the first token is also the last. A first token that ends the
/// sequence is left to the searches.
pub(super) fn forced_first_token(config: &GenerationConfig) -> Option<u32> {
    let forced_end = config.max_new_tokens == 1 && !config.forced_eos_token_ids.is_empty();
    config
        .forced_bos_token_id
        .filter(|id| !forced_end && !config.eos_token_ids.contains(id))
}

/// Whether a sequence whose last of `generated` tokens is `token` was ended by the model, not by the length limit.
fn ended_by_model(config: &GenerationConfig, generated: usize, token: u32) -> bool {
    let forced = generated >= config.max_new_tokens && !config.forced_eos_token_ids.is_empty();
    config.eos_token_ids.contains(&token) && !forced
}

/// A length's divisor of a sequence's log-probability.
fn length_divisor(config: &GenerationConfig, generated: usize) -> f32 {
    (generated as f64).powf(config.length_penalty) as f32
}
