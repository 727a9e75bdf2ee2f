//! The tokenizer: prompts to token ids, and generated ids to text with each token's range.

mod bytes;

use std::fmt;
use std::ops::Range;

use crate::error::{Error, Result};
use bytes::{ByteOfChar, LossyText};
use florence2_layout::{tokenizer, tokens};

/// BART's byte-level BPE with Florence-2's task and location tokens.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    bos: u32,
    eos: u32,
    pad: u32,
    byte_of_char: ByteOfChar,
}

/// Formats the size of the vocabulary instead of its entries.
impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokenizer")
            .field("vocabulary_size", &self.vocabulary_size())
            .finish_non_exhaustive()
    }
}

/// Generated text with the ranges of its tokens.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct DecodedText {
    /// The text with special tokens; bytes that are not UTF-8 become U+FFFD.
    pub text: String,
    /// For each token, its bytes of `text`. A token that ends inside a character ends before that character.
    pub spans: Vec<Range<usize>>,
}

impl Tokenizer {
    /// Parses a `tokenizer.json`. If task and location tokens are missing, as in Microsoft's file, they are added
    /// after the vocabulary, as Microsoft's processor adds them.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if it is malformed or has no `<s>`, `</s>` or `<pad>`.
    pub fn from_bytes(json: &[u8]) -> Result<Self> {
        Self::new(tokenizer::from_json(json)?)
    }

    /// Builds the tokenizer from BART's `vocab.json`, `merges.txt` and optional `added_tokens.json`, for deployments without
    /// `tokenizer.json`.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if one of them is malformed.
    pub fn from_vocabulary(vocabulary: &[u8], merges: &[u8], added: Option<&[u8]>) -> Result<Self> {
        Self::new(tokenizer::from_vocabulary(vocabulary, merges, added)?)
    }

    fn new(mut inner: tokenizers::Tokenizer) -> Result<Self> {
        // Prompts are encoded with `<s>` and `</s>` in the text; a template of another model would change or reject them.
        inner.with_post_processor(None::<tokenizers::PostProcessorWrapper>);
        let added = tokenizer::complete(&mut inner)?;
        if added > 0 {
            tracing::debug!(added, "added the missing task and location tokens");
        }
        let id = |token: &str| {
            inner.token_to_id(token).ok_or_else(|| Error::Tokenizer {
                reason: format!("it has no {token}; this is not a Florence-2 tokenizer"),
                source: None,
            })
        };
        let (bos, eos, pad) = (id(tokens::BOS)?, id(tokens::EOS)?, id(tokens::PAD)?);
        Ok(Self {
            inner,
            bos,
            eos,
            pad,
            byte_of_char: ByteOfChar::new(),
        })
    }

    /// Returns the id of `<s>`, the token that begins a text.
    pub fn bos(&self) -> u32 {
        self.bos
    }

    /// Returns the id of `</s>`, the token that ends a text.
    pub fn eos(&self) -> u32 {
        self.eos
    }

    /// Returns the id of `<pad>`, the token that fills up shorter texts of a batch.
    pub fn pad(&self) -> u32 {
        self.pad
    }

    /// Returns the number of tokens, added ones included.
    pub fn vocabulary_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// Returns a token's id, if the vocabulary has it.
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// Encodes a prompt between `<s>` and `</s>`, as transformers' `Florence2Processor` does. Special tokens inside the prompt
    /// are recognised.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if the tokenizer rejects the text.
    pub fn encode_prompt(&self, prompt: &str) -> Result<Vec<u32>> {
        let text = format!("{}{prompt}{}", tokens::BOS, tokens::EOS);
        let encoding = self
            .inner
            .encode(text, false)
            .map_err(|source| Error::Tokenizer {
                reason: "the prompt cannot be encoded".into(),
                source: Some(source),
            })?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Decodes generated ids to text with special tokens (transformers' `batch_decode(.., skip_special_tokens=False)`) and
    /// each token's range. Ids outside the vocabulary have no text.
    pub fn decode(&self, ids: &[u32]) -> DecodedText {
        let mut bytes = Vec::with_capacity(ids.len() * 8);
        let ends: Vec<usize> = ids
            .iter()
            .map(|&id| {
                self.push_bytes(id, &mut bytes);
                bytes.len()
            })
            .collect();
        let lossy = LossyText::new(&bytes);
        let mut start = 0;
        let spans = ends
            .into_iter()
            .map(|end| {
                let end = lossy.position(end);
                let span = start..end.max(start);
                start = span.end;
                span
            })
            .collect();
        DecodedText {
            text: lossy.text,
            spans,
        }
    }

    /// Returns a decoder that returns text as soon as its characters are complete.
    pub fn stream(&self) -> TextStream<'_> {
        TextStream {
            tokenizer: self,
            pending: Vec::new(),
            skip_special_tokens: false,
        }
    }

    /// Appends the bytes of token `id`. Byte-level BPE encodes each byte as one character; a token with a character outside
    /// that alphabet (an added token) is literal text, as in `tokenizers`' decoder.
    fn push_bytes(&self, id: u32, bytes: &mut Vec<u8>) {
        let Some(token) = self.inner.id_to_token(id) else {
            return;
        };
        let start = bytes.len();
        for c in token.chars() {
            match self.byte_of_char.get(c) {
                Some(byte) => bytes.push(byte),
                None => {
                    bytes.truncate(start);
                    bytes.extend_from_slice(token.as_bytes());
                    return;
                }
            }
        }
    }
}

/// A decoder of one generated token at a time.
pub struct TextStream<'t> {
    tokenizer: &'t Tokenizer,
    pending: Vec<u8>,
    skip_special_tokens: bool,
}

impl TextStream<'_> {
    /// Leaves out `<s>`, `</s>` and `<pad>`. Location tokens remain: they are part of an answer.
    #[must_use]
    pub fn with_skip_special_tokens(mut self, skip_special_tokens: bool) -> Self {
        self.skip_special_tokens = skip_special_tokens;
        self
    }

    /// Adds the next token and returns the text that it completes: empty while a character is incomplete.
    pub fn push(&mut self, id: u32) -> String {
        let Tokenizer { bos, eos, pad, .. } = *self.tokenizer;
        if self.skip_special_tokens && [bos, eos, pad].contains(&id) {
            return String::new();
        }
        self.tokenizer.push_bytes(id, &mut self.pending);
        let complete = match std::str::from_utf8(&self.pending) {
            Ok(_) => self.pending.len(),
            // Bytes that no continuation can complete become U+FFFD.
            Err(error) => match error.error_len() {
                Some(bad) => error.valid_up_to() + bad,
                None => error.valid_up_to(),
            },
        };
        let rest = self.pending.split_off(complete);
        let text = String::from_utf8_lossy(&self.pending).into_owned();
        self.pending = rest;
        text
    }

    /// Returns the rest at the end: U+FFFD for an incomplete character.
    pub fn finish(self) -> String {
        String::from_utf8_lossy(&self.pending).into_owned()
    }
}
