//! Rules about particular tokens.

use super::{LogitsProcessor, ban};

/// Never completes one of these token sequences (`NoBadWordsLogitsProcessor`).
pub(super) struct BadWords {
    words: Vec<Vec<u32>>,
}

impl BadWords {
    /// A word that is only an end token is left out.
    pub fn new(words: &[Vec<u32>], eos_token_ids: &[u32]) -> Self {
        let is_eos = |word: &Vec<u32>| matches!(word.as_slice(), [token] if eos_token_ids.contains(token));
        Self {
            words: words.iter().filter(|word| !is_eos(word)).cloned().collect(),
        }
    }
}

impl LogitsProcessor for BadWords {
    fn process(&mut self, tokens: &[u32], scores: &mut [f32]) {
        for word in &self.words {
            if let [prefix @ .., last] = word.as_slice()
                && tokens.ends_with(prefix)
            {
                ban(scores, *last);
            }
        }
    }
}

/// No end token before so many tokens (`MinLengthLogitsProcessor`, `MinNewTokensLengthLogitsProcessor`).
pub(super) struct MinNewTokens {
    min: usize,
    eos_token_ids: Vec<u32>,
}

impl MinNewTokens {
    pub fn new(min: usize, eos_token_ids: &[u32]) -> Self {
        Self {
            min,
            eos_token_ids: eos_token_ids.to_vec(),
        }
    }
}

impl LogitsProcessor for MinNewTokens {
    fn process(&mut self, tokens: &[u32], scores: &mut [f32]) {
        if tokens.len() <= self.min {
            self.eos_token_ids.iter().for_each(|&token| ban(scores, token));
        }
    }
}

/// The first generated token is this one (`ForcedBOSTokenLogitsProcessor`).
pub(super) struct ForcedBos {
    token: u32,
}

impl ForcedBos {
    pub fn new(token: u32) -> Self {
        Self { token }
    }
}

impl LogitsProcessor for ForcedBos {
    fn process(&mut self, tokens: &[u32], scores: &mut [f32]) {
        if tokens.len() == 1 {
            force(scores, &[self.token]);
        }
    }
}

/// The last token that the length limit allows is one of these (`ForcedEOSTokenLogitsProcessor`).
pub(super) struct ForcedEos {
    max_new_tokens: usize,
    tokens: Vec<u32>,
}

impl ForcedEos {
    pub fn new(max_new_tokens: usize, tokens: &[u32]) -> Self {
        Self {
            max_new_tokens,
            tokens: tokens.to_vec(),
        }
    }
}

impl LogitsProcessor for ForcedEos {
    fn process(&mut self, tokens: &[u32], scores: &mut [f32]) {
        if tokens.len() == self.max_new_tokens {
            force(scores, &self.tokens);
        }
    }
}

/// Never these tokens (`SuppressTokensLogitsProcessor`).
pub(super) struct SuppressTokens {
    tokens: Vec<u32>,
}

impl SuppressTokens {
    pub fn new(tokens: &[u32]) -> Self {
        Self {
            tokens: tokens.to_vec(),
        }
    }
}

impl LogitsProcessor for SuppressTokens {
    fn process(&mut self, _tokens: &[u32], scores: &mut [f32]) {
        self.tokens.iter().for_each(|&token| ban(scores, token));
    }
}

/// Not these tokens after the first `begin` tokens of a sequence (`SuppressTokensAtBeginLogitsProcessor`).
pub(super) struct SuppressTokensAtBegin {
    tokens: Vec<u32>,
    begin: usize,
}

impl SuppressTokensAtBegin {
    pub fn new(tokens: &[u32], begin: usize) -> Self {
        Self {
            tokens: tokens.to_vec(),
            begin,
        }
    }
}

impl LogitsProcessor for SuppressTokensAtBegin {
    fn process(&mut self, tokens: &[u32], scores: &mut [f32]) {
        if tokens.len() == self.begin {
            self.tokens.iter().for_each(|&token| ban(scores, token));
        }
    }
}

/// Makes all but these tokens impossible, and these certain.
fn force(scores: &mut [f32], tokens: &[u32]) {
    scores.fill(f32::NEG_INFINITY);
    for &token in tokens {
        if let Some(score) = scores.get_mut(token as usize) {
            *score = 0.0;
        }
    }
}
