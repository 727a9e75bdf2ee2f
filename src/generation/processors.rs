//! Logits processors: `logits_process.py` of transformers.

use std::fmt;
use std::sync::Arc;

use super::config::GenerationConfig;
use super::math::{are_numbers, max};
use super::warpers::{min_p, renormalize, top_k, top_p, typical_p};
use crate::error::{Error, Result};

/// Changes the scores of a row's next token: a constraint, a bias, a ban. Closures `Fn(&[u32], &mut [f32])` are ones.
///
/// It is called for every row of every step, and may be shared by several requests and threads.
pub trait LogitsProcessor: Send + Sync {
    /// Changes `scores` (`[vocabulary]`: logits, or log-probabilities in beam search) of the token that follows
    /// `tokens`, the row's whole sequence with the start token. `-∞` bans a token; NaN and `∞` are errors.
    fn process(&self, tokens: &[u32], scores: &mut [f32]);
}

impl<F: Fn(&[u32], &mut [f32]) + Send + Sync> LogitsProcessor for F {
    fn process(&self, tokens: &[u32], scores: &mut [f32]) {
        self(tokens, scores);
    }
}

/// A request's logits processors, in their order. They run where transformers runs those of `generate`'s argument
/// `logits_processor`: after those of the settings, before those of sampling.
#[derive(Clone, Default)]
pub struct LogitsProcessors(Vec<Arc<dyn LogitsProcessor>>);

impl LogitsProcessors {
    /// Adds a processor, to run after the others.
    pub fn push(&mut self, processor: impl LogitsProcessor + 'static) {
        self.0.push(Arc::new(processor));
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Formats the number of processors.
impl fmt::Debug for LogitsProcessors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} logits processors", self.0.len())
    }
}

/// A processor of the settings, with memory of its own.
type Processor = Box<dyn FnMut(&[u32], &mut [f32])>;

/// All processors of a search, in transformers' order.
pub(super) struct ProcessorChain {
    /// Those of the settings.
    settings: Vec<Processor>,
    /// Whether those of the settings change scores of tokens that are not banned.
    is_penalized: bool,
    /// Those of the request.
    request: LogitsProcessors,
    /// What sampling divides scores by (`TemperatureLogitsWarper`).
    temperature: f32,
    /// The others of sampling and the final normalization.
    sampling: Vec<Processor>,
}

impl ProcessorChain {
    /// Returns the processors that `config` switches on, and those of the request.
    pub fn new(config: &GenerationConfig, request: LogitsProcessors) -> Self {
        Self {
            settings: settings(config),
            is_penalized: config.repetition_penalty != 1.0,
            request,
            temperature: if config.do_sample {
                config.temperature as f32
            } else {
                1.0
            },
            sampling: sampling(config),
        }
    }

    /// Runs all processors on one row: see [`LogitsProcessor::process`].
    ///
    /// # Errors
    /// [`Error::InvalidOption`] if a processor of the request returns NaN or ∞, or the repetition penalty or the temperature makes
    /// scores infinite.
    pub fn process(&mut self, tokens: &[u32], scores: &mut [f32]) -> Result<()> {
        self.settings
            .iter_mut()
            .for_each(|process| process(tokens, scores));
        if self.is_penalized && !are_numbers(scores) {
            return Err(invalid("repetition_penalty", INFINITE));
        }
        if !self.request.is_empty() {
            for processor in &self.request.0 {
                processor.process(tokens, scores);
            }
            if !are_numbers(scores) {
                let reason = "a logits processor returned NaN or infinity; -infinity bans a token";
                return Err(invalid("logits_processors", reason));
            }
        }
        if self.temperature != 1.0 {
            let best = max(scores);
            if best.is_finite() && !(best / self.temperature).is_finite() {
                return Err(invalid("temperature", INFINITE));
            }
            scores.iter_mut().for_each(|score| *score /= self.temperature);
        }
        self.sampling
            .iter_mut()
            .for_each(|process| process(tokens, scores));
        Ok(())
    }
}

const INFINITE: &str = "makes scores infinite; choose a value nearer to 1";

fn invalid(name: &'static str, reason: &str) -> Error {
    Error::InvalidOption {
        name,
        reason: reason.to_owned(),
    }
}

/// Returns the processors that `config` switches on, but for those of sampling.
fn settings(config: &GenerationConfig) -> Vec<Processor> {
    let mut all: Vec<Processor> = Vec::new();
    if config.repetition_penalty != 1.0 {
        all.push(Box::new(repetition_penalty(config.repetition_penalty as f32)));
    }
    if config.no_repeat_ngram_size > 0 {
        all.push(Box::new(no_repeat_ngram(config.no_repeat_ngram_size)));
    }
    if !config.bad_words_ids.is_empty() {
        all.push(Box::new(bad_words(&config.bad_words_ids, &config.eos_token_ids)));
    }
    // Lengths count the start token: a first token follows one token.
    let min = config.min_new_tokens;
    if min > 0 {
        all.push(Box::new(ban_at(&config.eos_token_ids, move |length| {
            length <= min
        })));
    }
    if let Some(token) = config.forced_bos_token_id {
        all.push(Box::new(force_at(&[token], 1)));
    }
    if !config.forced_eos_token_ids.is_empty() {
        all.push(Box::new(force_at(
            &config.forced_eos_token_ids,
            config.max_new_tokens,
        )));
    }
    if !config.suppress_tokens.is_empty() {
        all.push(Box::new(ban_at(&config.suppress_tokens, |_| true)));
    }
    if !config.begin_suppress_tokens.is_empty() {
        let begin = 1 + usize::from(config.forced_bos_token_id.is_some());
        all.push(Box::new(ban_at(&config.begin_suppress_tokens, move |length| {
            length == begin
        })));
    }
    all
}

/// Returns the processors of sampling after the temperature, if `config` samples, and of the final normalization.
fn sampling(config: &GenerationConfig) -> Vec<Processor> {
    let mut all: Vec<Processor> = Vec::new();
    // Beams need a token that does not end the sequence.
    let min_tokens = if config.uses_beams() {
        config.eos_token_ids.len() + 1
    } else {
        1
    };
    if config.do_sample {
        if config.top_k > 0 {
            all.push(Box::new(top_k(config.top_k.max(min_tokens))));
        }
        if config.top_p < 1.0 {
            all.push(Box::new(top_p(config.top_p, min_tokens)));
        }
        if let Some(p) = config.min_p {
            all.push(Box::new(min_p(p as f32, min_tokens)));
        }
        if config.typical_p < 1.0 {
            all.push(Box::new(typical_p(config.typical_p as f32, min_tokens)));
        }
    }
    if config.renormalize_logits {
        all.push(Box::new(renormalize));
    }
    all
}

/// Divides positive scores of tokens in the sequence by `penalty`, and multiplies negative ones
/// (`RepetitionPenaltyLogitsProcessor`).
fn repetition_penalty(penalty: f32) -> impl FnMut(&[u32], &mut [f32]) {
    let mut unique = Vec::new();
    move |tokens: &[u32], scores: &mut [f32]| {
        unique.clear();
        unique.extend_from_slice(tokens);
        unique.sort_unstable();
        unique.dedup();
        for &token in &unique {
            if let Some(score) = scores.get_mut(token as usize) {
                *score = if *score < 0.0 {
                    *score * penalty
                } else {
                    *score / penalty
                };
            }
        }
    }
}

/// Bans tokens that would repeat an n-gram of the sequence (`NoRepeatNGramLogitsProcessor`). `size` is at least 1.
fn no_repeat_ngram(size: usize) -> impl FnMut(&[u32], &mut [f32]) {
    move |tokens: &[u32], scores: &mut [f32]| {
        if tokens.len() < size {
            return;
        }
        let prefix = &tokens[tokens.len() + 1 - size..];
        for ngram in tokens.windows(size) {
            if let [start @ .., last] = ngram
                // Most n-grams differ here already; a comparison of slices is a call.
                && start.last() == prefix.last()
                && start == prefix
            {
                ban(scores, *last);
            }
        }
    }
}

/// Bans tokens that would complete one of `words` (`NoBadWordsLogitsProcessor`), except words that are a single end
/// token.
fn bad_words(words: &[Vec<u32>], eos_token_ids: &[u32]) -> impl FnMut(&[u32], &mut [f32]) + use<> {
    let mut words = words.to_vec();
    words.retain(|word| !matches!(word.as_slice(), [token] if eos_token_ids.contains(token)));
    move |tokens: &[u32], scores: &mut [f32]| {
        for word in &words {
            if let [prefix @ .., last] = word.as_slice()
                && tokens.ends_with(prefix)
            {
                ban(scores, *last);
            }
        }
    }
}

/// Bans `banned` after sequences whose length is `applicable` (`MinLengthLogitsProcessor`,
/// `SuppressTokensLogitsProcessor`, `SuppressTokensAtBeginLogitsProcessor`).
fn ban_at<F: Fn(usize) -> bool>(banned: &[u32], applicable: F) -> impl FnMut(&[u32], &mut [f32]) + use<F> {
    let banned = banned.to_vec();
    move |tokens: &[u32], scores: &mut [f32]| {
        if applicable(tokens.len()) {
            banned.iter().for_each(|&token| ban(scores, token));
        }
    }
}

/// Bans all tokens but `forced`, which become certain, after sequences of `length` tokens
/// (`ForcedBOSTokenLogitsProcessor`, `ForcedEOSTokenLogitsProcessor`).
fn force_at(forced: &[u32], length: usize) -> impl FnMut(&[u32], &mut [f32]) + use<> {
    let forced = forced.to_vec();
    move |tokens: &[u32], scores: &mut [f32]| {
        if tokens.len() == length {
            scores.fill(f32::NEG_INFINITY);
            for &token in &forced {
                if let Some(score) = scores.get_mut(token as usize) {
                    *score = 0.0;
                }
            }
        }
    }
}

fn ban(scores: &mut [f32], token: u32) {
    if let Some(score) = scores.get_mut(token as usize) {
        *score = f32::NEG_INFINITY;
    }
}
