//! Logits processors: `logits_process.py` of transformers.

use super::config::GenerationConfig;
use super::warpers::{min_p, renormalize, temperature, top_k, top_p, typical_p};

/// Changes the scores of a row's next token.
pub trait LogitsProcessor {
    /// Changes `scores` (`[vocabulary]`: logits, or log-probabilities in beam search) of the token that follows
    /// `tokens`, the row's whole sequence with the start token. Token ids beyond the vocabulary have no effect.
    fn process(&mut self, tokens: &[u32], scores: &mut [f32]);
}

impl<F: FnMut(&[u32], &mut [f32])> LogitsProcessor for F {
    fn process(&mut self, tokens: &[u32], scores: &mut [f32]) {
        self(tokens, scores);
    }
}

/// The logits processors of a [`GenerationConfig`], in transformers' order.
pub struct LogitsProcessors(Vec<Box<dyn LogitsProcessor>>);

impl LogitsProcessors {
    /// Returns the processors that `config` switches on.
    pub fn new(config: &GenerationConfig) -> Self {
        let mut all = Self(Vec::new());
        if config.repetition_penalty != 1.0 {
            all.push(repetition_penalty(config.repetition_penalty as f32));
        }
        if config.no_repeat_ngram_size > 0 {
            all.push(no_repeat_ngram(config.no_repeat_ngram_size));
        }
        if !config.bad_words_ids.is_empty() {
            all.push(bad_words(&config.bad_words_ids, &config.eos_token_ids));
        }
        // Lengths count the start token: a first token follows one token.
        let min = config.min_new_tokens;
        if min > 0 {
            all.push(ban_at(&config.eos_token_ids, move |length| length <= min));
        }
        if let Some(token) = config.forced_bos_token_id {
            all.push(force_at(&[token], 1));
        }
        if !config.forced_eos_token_ids.is_empty() {
            all.push(force_at(&config.forced_eos_token_ids, config.max_new_tokens));
        }
        if !config.suppress_tokens.is_empty() {
            all.push(ban_at(&config.suppress_tokens, |_| true));
        }
        if !config.begin_suppress_tokens.is_empty() {
            let begin = 1 + usize::from(config.forced_bos_token_id.is_some());
            all.push(ban_at(&config.begin_suppress_tokens, move |length| {
                length == begin
            }));
        }
        if config.do_sample {
            all.push_warpers(config);
        }
        if config.renormalize_logits {
            all.push(renormalize);
        }
        all
    }

    /// Adds the processors of sampling.
    fn push_warpers(&mut self, config: &GenerationConfig) {
        // Beams need a token that does not end the sequence.
        let min_tokens = if config.uses_beams() {
            config.eos_token_ids.len() + 1
        } else {
            1
        };
        if config.temperature != 1.0 {
            self.push(temperature(config.temperature as f32));
        }
        if config.top_k > 0 {
            self.push(top_k(config.top_k.max(min_tokens)));
        }
        if config.top_p < 1.0 {
            self.push(top_p(config.top_p, min_tokens));
        }
        if let Some(p) = config.min_p {
            self.push(min_p(p as f32, min_tokens));
        }
        if config.typical_p < 1.0 {
            self.push(typical_p(config.typical_p as f32, min_tokens));
        }
    }

    /// Adds a processor, to run after the others.
    pub fn push(&mut self, processor: impl LogitsProcessor + 'static) {
        self.0.push(Box::new(processor));
    }

    /// Runs all processors on one row: see [`LogitsProcessor::process`].
    pub fn process(&mut self, tokens: &[u32], scores: &mut [f32]) {
        for processor in &mut self.0 {
            processor.process(tokens, scores);
        }
    }
}

/// Divides positive scores of tokens in the sequence by `penalty`, and multiplies negative ones
/// (`RepetitionPenaltyLogitsProcessor`).
fn repetition_penalty(penalty: f32) -> impl LogitsProcessor {
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
fn no_repeat_ngram(size: usize) -> impl LogitsProcessor {
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
fn bad_words(words: &[Vec<u32>], eos_token_ids: &[u32]) -> impl LogitsProcessor + use<> {
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
fn ban_at<F: Fn(usize) -> bool>(banned: &[u32], applicable: F) -> impl LogitsProcessor + use<F> {
    let banned = banned.to_vec();
    move |tokens: &[u32], scores: &mut [f32]| {
        if applicable(tokens.len()) {
            banned.iter().for_each(|&token| ban(scores, token));
        }
    }
}

/// Bans all tokens but `forced`, which become certain, after sequences of `length` tokens
/// (`ForcedBOSTokenLogitsProcessor`, `ForcedEOSTokenLogitsProcessor`).
fn force_at(forced: &[u32], length: usize) -> impl LogitsProcessor + use<> {
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
