//! What the searches have in common: one [`Search`] for each input, fed by the loop.

mod beam;
mod independent;
mod top_k;

use std::borrow::Cow;

use ndarray::{ArrayView1, ArrayView2};

use self::beam::BeamSearch;
use self::independent::IndependentSearch;
use super::config::GenerationConfig;
use super::math::{are_numbers, log_softmax_of};
use super::processors::LogitsProcessors;
use super::sequence::Sequence;
use crate::error::{Error, Result};

/// The search for one input's sequences. It starts with one row of the decoder, fed with the start token.
pub(super) trait Search {
    /// The rows of the next step; none if the search is done. Before the first step: one.
    fn next(&self) -> &[Continuation];

    /// Chooses the next tokens by the logits of this search's rows, `[next().len(), vocabulary]`.
    ///
    /// # Errors
    /// If the logits are not numbers.
    fn advance(&mut self, logits: ArrayView2<'_, f32>, workspace: &mut Workspace) -> Result<()>;

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
    pub processors: LogitsProcessors,
    /// Scores of one row, `[vocabulary]`.
    pub scores: Vec<f32>,
}

impl Workspace {
    pub fn new(config: &GenerationConfig) -> Self {
        Self {
            processors: LogitsProcessors::new(config),
            scores: Vec::new(),
        }
    }

    /// Puts a row's logits into `scores`.
    fn load_logits(&mut self, logits: ArrayView1<'_, f32>) -> Result<()> {
        let logits = checked(&logits)?;
        self.scores.clear();
        self.scores.extend_from_slice(&logits);
        Ok(())
    }

    /// Puts a row's log-probabilities into `scores`.
    fn load_log_probs(&mut self, logits: ArrayView1<'_, f32>) -> Result<()> {
        log_softmax_of(&checked(&logits)?, &mut self.scores);
        Ok(())
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
        Err(Error::InvalidGraph {
            graph: "decoder".to_owned(),
            reason: "its logits hold NaN or infinity (an overflow, or damaged weights); use another precision of it"
                .to_owned(),
        })
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
