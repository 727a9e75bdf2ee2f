//! BART's byte-level BPE with Florence-2's task and location tokens, built from the files of a checkpoint.

use std::collections::BTreeMap;

use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::processors::roberta::RobertaProcessing;
use tokenizers::{AddedToken, Tokenizer};

use crate::files::{ADDED_TOKENS, MERGES, TOKENIZER, VOCABULARY};
use crate::tokens;

/// BART's special tokens, in the order of their ids.
const BART_SPECIAL: [&str; 5] = [tokens::BOS, tokens::PAD, tokens::EOS, tokens::UNK, tokens::MASK];

/// Largest gap in the ids of `added_tokens.json`; a larger one suggests the list of another model.
const LARGEST_GAP: usize = 1000;

/// The error for invalid tokenizer files.
#[derive(Debug, thiserror::Error)]
#[error("{reason}; fetch the model's tokenizer files again")]
pub struct InvalidTokenizer {
    /// The file's name and what is wrong with it.
    pub reason: String,
}

/// Returns the tokenizer of a `tokenizer.json`.
///
/// # Errors
/// If the file is invalid.
pub fn from_json(json: &[u8]) -> Result<Tokenizer, InvalidTokenizer> {
    Tokenizer::from_bytes(json).map_err(|error| invalid(TOKENIZER, error))
}

/// Builds a tokenizer from a `vocab.json`, a `merges.txt` and optionally an `added_tokens.json`.
///
/// # Errors
/// If a file is invalid or belongs to another model.
pub fn from_vocabulary(
    vocabulary: &[u8],
    merges: &[u8],
    added: Option<&[u8]>,
) -> Result<Tokenizer, InvalidTokenizer> {
    let vocabulary = ids(VOCABULARY, vocabulary)?;
    let id = |token: &str| {
        let id = vocabulary.get(token).copied();
        id.ok_or_else(|| invalid(VOCABULARY, format!("it has no {token}; is it another model's?")))
    };
    let sep = (tokens::EOS.to_owned(), id(tokens::EOS)?);
    let cls = (tokens::BOS.to_owned(), id(tokens::BOS)?);
    let special: Vec<AddedToken> = BART_SPECIAL
        .into_iter()
        .filter(|&token| vocabulary.contains_key(token))
        .map(|token| {
            AddedToken::from(token, true)
                .normalized(true)
                .lstrip(token == tokens::MASK)
        })
        .collect();
    let model = BPE::builder()
        .vocab_and_merges(vocabulary.into_iter().collect::<Vocab>(), pairs(merges)?)
        .build()
        .map_err(|error| invalid(MERGES, error))?;
    let mut tokenizer = Tokenizer::new(model);
    tokenizer
        .with_pre_tokenizer(Some(ByteLevel::new(false, true, true)))
        .with_post_processor(Some(
            RobertaProcessing::new(sep, cls)
                .trim_offsets(true)
                .add_prefix_space(false),
        ))
        .with_decoder(Some(ByteLevel::default()));
    add(&mut tokenizer, special)?;
    if let Some(added) = added {
        add_listed(&mut tokenizer, ids(ADDED_TOKENS, added)?)?;
    }
    Ok(tokenizer)
}

/// Adds the missing task and location tokens, as Microsoft's processor does, and returns their number.
///
/// # Errors
/// If the tokenizer rejects them.
pub fn complete(tokenizer: &mut Tokenizer) -> Result<usize, InvalidTokenizer> {
    let missing: Vec<AddedToken> = tokens::added()
        .filter(|token| tokenizer.token_to_id(token).is_none())
        .map(|token| AddedToken::from(token, true))
        .collect();
    let count = missing.len();
    if count > 0 {
        add(tokenizer, missing)?;
    }
    Ok(count)
}

fn add(
    tokenizer: &mut Tokenizer,
    tokens: impl IntoIterator<Item = AddedToken>,
) -> Result<(), InvalidTokenizer> {
    tokenizer
        .add_special_tokens(tokens)
        .map(drop)
        .map_err(|error| invalid("special tokens", error))
}

/// Adds tokens with the ids that `added_tokens.json` lists for them. The tokenizer assigns ids in order, so that gaps in the
/// list are filled with placeholder tokens.
fn add_listed(tokenizer: &mut Tokenizer, listed: BTreeMap<String, u32>) -> Result<(), InvalidTokenizer> {
    let mut listed: Vec<(String, u32)> = listed.into_iter().collect();
    listed.sort_by_key(|(_, id)| *id);
    let mut next = tokenizer.get_vocab_size(true);
    let mut tokens = Vec::new();
    for (token, id) in &listed {
        let wanted = *id as usize;
        match tokenizer.token_to_id(token) {
            Some(known) if known == *id => continue,
            None if (next..next + LARGEST_GAP).contains(&wanted) => {
                tokens.extend((next..wanted).map(|id| AddedToken::from(format!("<unlisted_{id}>"), true)));
                tokens.push(AddedToken::from(token.clone(), true));
                next = wanted + 1;
            }
            known => {
                let known = known.map_or(next, |id| id as usize);
                return Err(invalid(
                    ADDED_TOKENS,
                    format!(
                        "it lists {token} as {id}, but {VOCABULARY} makes it {known}; is one another model's?"
                    ),
                ));
            }
        }
    }
    add(tokenizer, tokens)
}

fn ids(file: &str, json: &[u8]) -> Result<BTreeMap<String, u32>, InvalidTokenizer> {
    serde_json::from_slice(json).map_err(|error| invalid(file, error))
}

/// Parses the merges: one pair per line.
fn pairs(merges: &[u8]) -> Result<Vec<(String, String)>, InvalidTokenizer> {
    let text = std::str::from_utf8(merges).map_err(|error| invalid(MERGES, error))?;
    let lines = text
        .lines()
        .filter(|line| !line.starts_with("#version") && !line.is_empty());
    let pairs = lines.map(|line| {
        line.split_once(' ')
            .map(|(left, right)| (left.to_owned(), right.to_owned()))
    });
    pairs
        .collect::<Option<_>>()
        .ok_or_else(|| invalid(MERGES, "each line must be two parts"))
}

fn invalid(file: &str, reason: impl std::fmt::Display) -> InvalidTokenizer {
    InvalidTokenizer {
        reason: format!("{file}: {reason}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VOCABULARY: &[u8] = br#"{"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "a": 4}"#;

    #[test]
    fn added_tokens_have_their_listed_ids() {
        let with = |added: &str| from_vocabulary(VOCABULARY, b"", Some(added.as_bytes()));
        let tokenizer = with(r#"{"<loc_1>": 8, "<loc_0>": 7, "<mask>": 5, "<s>": 0}"#).unwrap();
        for (token, id) in [("<mask>", 5), ("<loc_0>", 7), ("<loc_1>", 8)] {
            assert_eq!(tokenizer.token_to_id(token), Some(id), "{token}");
        }
        for invalid in [r#"{"<mask>": 4}"#, r#"{"a": 9}"#, r#"{"<mask>": 51289}"#] {
            let error = with(invalid).unwrap_err().to_string();
            assert!(error.contains("added_tokens.json"), "{invalid}: {error}");
        }
    }
}
