//! What changes a row's scores before tokens are chosen: `logits_process.py` of transformers.

mod repetition;
mod tokens;
mod warpers;

use self::repetition::{NoRepeatNGram, RepetitionPenalty};
use self::tokens::{BadWords, ForcedBos, ForcedEos, MinNewTokens, SuppressTokens, SuppressTokensAtBegin};
use self::warpers::{MinP, Renormalize, Temperature, TopK, TopP, Typical};
use super::config::GenerationConfig;

/// A rule over the scores of one row.
trait LogitsProcessor {
    /// Changes `scores` (`[vocabulary]`: logits, or log-probabilities in beam search) of the token that follows
    /// `tokens`, the row's whole sequence with the start token. Token ids beyond the vocabulary have no effect.
    fn process(&mut self, tokens: &[u32], scores: &mut [f32]);
}

/// The processors that the settings ask for, in transformers' order.
pub(super) struct LogitsProcessors(Vec<Box<dyn LogitsProcessor>>);

impl LogitsProcessors {
    pub fn new(config: &GenerationConfig) -> Self {
        let mut list: Vec<Box<dyn LogitsProcessor>> = Vec::new();
        if config.repetition_penalty != 1.0 {
            list.push(Box::new(RepetitionPenalty::new(config.repetition_penalty)));
        }
        if config.no_repeat_ngram_size > 0 {
            list.push(Box::new(NoRepeatNGram::new(config.no_repeat_ngram_size)));
        }
        if !config.bad_words_ids.is_empty() {
            list.push(Box::new(BadWords::new(
                &config.bad_words_ids,
                &config.eos_token_ids,
            )));
        }
        if config.min_new_tokens > 0 {
            list.push(Box::new(MinNewTokens::new(
                config.min_new_tokens,
                &config.eos_token_ids,
            )));
        }
        if let Some(token) = config.forced_bos_token_id {
            list.push(Box::new(ForcedBos::new(token)));
        }
        if !config.forced_eos_token_ids.is_empty() {
            list.push(Box::new(ForcedEos::new(
                config.max_new_tokens,
                &config.forced_eos_token_ids,
            )));
        }
        if !config.suppress_tokens.is_empty() {
            list.push(Box::new(SuppressTokens::new(&config.suppress_tokens)));
        }
        if !config.begin_suppress_tokens.is_empty() {
            let begin = 1 + usize::from(config.forced_bos_token_id.is_some());
            list.push(Box::new(SuppressTokensAtBegin::new(
                &config.begin_suppress_tokens,
                begin,
            )));
        }
        if config.do_sample {
            list.extend(warpers(config));
        }
        if config.renormalize_logits {
            list.push(Box::new(Renormalize));
        }
        Self(list)
    }

    /// Applies all of them to one row.
    pub fn process(&mut self, tokens: &[u32], scores: &mut [f32]) {
        for processor in &mut self.0 {
            processor.process(tokens, scores);
        }
    }
}

/// The processors that only sampling has.
fn warpers(config: &GenerationConfig) -> Vec<Box<dyn LogitsProcessor>> {
    // Beams need a token that does not end the sequence.
    let min_tokens_to_keep = if config.uses_beams() {
        config.eos_token_ids.len() + 1
    } else {
        1
    };
    let mut list: Vec<Box<dyn LogitsProcessor>> = Vec::new();
    if config.temperature != 1.0 {
        list.push(Box::new(Temperature::new(config.temperature)));
    }
    if config.top_k > 0 {
        list.push(Box::new(TopK::new(config.top_k.max(min_tokens_to_keep))));
    }
    if config.top_p < 1.0 {
        list.push(Box::new(TopP::new(config.top_p, min_tokens_to_keep)));
    }
    if let Some(min_p) = config.min_p {
        list.push(Box::new(MinP::new(min_p, min_tokens_to_keep)));
    }
    if config.typical_p < 1.0 {
        list.push(Box::new(Typical::new(config.typical_p, min_tokens_to_keep)));
    }
    list
}

/// Makes a token impossible.
fn ban(scores: &mut [f32], token: u32) {
    if let Some(score) = scores.get_mut(token as usize) {
        *score = f32::NEG_INFINITY;
    }
}
