//! Prompts to token ids, and generated ids to text with the place of every token in it.

mod bytes;

use std::fmt;
use std::ops::Range;
use std::path::Path;

use florence2_layout::tokens;
use tokenizers::AddedToken;

use crate::error::{Error, Result};
use bytes::{ByteOfChar, LossyText};

/// BART's byte-level BPE with Florence-2's task and location tokens.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    bos: u32,
    eos: u32,
    pad: u32,
    byte_of_char: ByteOfChar,
}

/// The size of the vocabulary: its entries are too much for a message.
impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokenizer")
            .field("vocabulary_size", &self.vocabulary_size())
            .finish_non_exhaustive()
    }
}

/// Generated text with its tokens' places.
#[derive(Debug, Clone, PartialEq)]
pub struct DecodedText {
    /// The text, special tokens kept; bytes that are no UTF-8 are shown as U+FFFD.
    pub text: String,
    /// For each token, the bytes of `text` that came from it. A token that ends inside a character covers
    /// that character up to its start.
    pub spans: Vec<Range<usize>>,
}

impl Tokenizer {
    /// Reads a `tokenizer.json`. Task and location tokens that it lacks (Microsoft's lacks them) are added
    /// after its vocabulary, as Microsoft's processor does.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if it is not one, or has no `<s>`, `</s>` or `<pad>`.
    pub fn from_bytes(json: &[u8]) -> Result<Self> {
        let inner = tokenizers::Tokenizer::from_bytes(json).map_err(|source| Error::Tokenizer {
            reason: "tokenizer.json cannot be read; fetch or export the model again".into(),
            source: Some(source),
        })?;
        Self::new(inner)
    }

    /// Builds the tokenizer from BART's `vocab.json` and `merges.txt`, for deployments without `tokenizer.json`.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if the files cannot be read.
    pub fn from_vocab_and_merges(vocab: &Path, merges: &Path) -> Result<Self> {
        use tokenizers::models::bpe::BPE;
        use tokenizers::pre_tokenizers::byte_level::ByteLevel;
        let bpe = BPE::from_file(&vocab.to_string_lossy(), &merges.to_string_lossy())
            .build()
            .map_err(|source| Error::Tokenizer {
                reason: "vocab.json and merges.txt cannot be read".into(),
                source: Some(source),
            })?;
        let mut inner = tokenizers::Tokenizer::new(bpe);
        let byte_level = ByteLevel::default().add_prefix_space(false);
        inner
            .with_pre_tokenizer(Some(byte_level))
            .with_decoder(Some(byte_level));
        let special = [tokens::BOS, tokens::PAD, tokens::EOS, "<unk>"];
        let special = special.map(|token| AddedToken::from(token, true));
        let mask = AddedToken::from("<mask>", true).lstrip(true);
        add(&mut inner, special.into_iter().chain([mask]))?;
        Self::new(inner)
    }

    fn new(mut inner: tokenizers::Tokenizer) -> Result<Self> {
        // What a fine-tune's training left in the file; transformers encodes without either.
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|source| Error::Tokenizer {
            reason: "its truncation cannot be switched off".into(),
            source: Some(source),
        })?;
        let missing = tokens::added().filter(|token| inner.token_to_id(token).is_none());
        let missing: Vec<_> = missing
            .map(|token| AddedToken::from(token, true).normalized(false))
            .collect();
        if !missing.is_empty() {
            tracing::debug!(
                count = missing.len(),
                "completing the tokenizer's task and location tokens"
            );
            add(&mut inner, missing)?;
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

    /// Id of `<s>`.
    pub fn bos(&self) -> u32 {
        self.bos
    }

    /// Id of `</s>`.
    pub fn eos(&self) -> u32 {
        self.eos
    }

    /// Id of `<pad>`.
    pub fn pad(&self) -> u32 {
        self.pad
    }

    /// Entries, added tokens included.
    pub fn vocabulary_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// The id of a token, if the vocabulary has it.
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// A prompt's ids, `<s>` and `</s>` around it, as transformers' `Florence2Processor` makes them. Special
    /// tokens inside the prompt are recognised.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if the tokenizer refuses the text.
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

    /// The text of generated ids, special tokens kept (transformers' `batch_decode(.., skip_special_tokens=False)`),
    /// and each token's place in it. Ids outside the vocabulary have no text.
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

    /// A decoder that gives text as soon as it is whole.
    pub fn stream(&self) -> TextStream<'_> {
        TextStream {
            tokenizer: self,
            pending: Vec::new(),
        }
    }

    /// Appends what token `id` stands for. Byte-level BPE writes each byte as one character; a token with a
    /// character outside that alphabet (an added one) stands for itself, as in `tokenizers`' decoder.
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

fn add(inner: &mut tokenizers::Tokenizer, tokens: impl IntoIterator<Item = AddedToken>) -> Result<()> {
    inner
        .add_special_tokens(tokens)
        .map(drop)
        .map_err(|source| Error::Tokenizer {
            reason: "the task and location tokens cannot be added".into(),
            source: Some(source),
        })
}

/// Text of a generation in progress.
pub struct TextStream<'t> {
    tokenizer: &'t Tokenizer,
    pending: Vec<u8>,
}

impl TextStream<'_> {
    /// Takes the next token and gives the text that is whole with it: empty while a character is unfinished.
    pub fn push(&mut self, id: u32) -> String {
        self.tokenizer.push_bytes(id, &mut self.pending);
        let whole = match std::str::from_utf8(&self.pending) {
            Ok(_) => self.pending.len(),
            // Bytes that no continuation can mend are passed on as U+FFFD rather than held back for ever.
            Err(error) => match error.error_len() {
                Some(bad) => error.valid_up_to() + bad,
                None => error.valid_up_to(),
            },
        };
        let rest = self.pending.split_off(whole);
        let text = String::from_utf8_lossy(&self.pending).into_owned();
        self.pending = rest;
        text
    }

    /// What is left at the end: U+FFFD for a character that was never finished.
    pub fn finish(self) -> String {
        String::from_utf8_lossy(&self.pending).into_owned()
    }
}
