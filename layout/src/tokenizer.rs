//! BART's byte-level BPE with Florence-2's task and location tokens, built from the files of a checkpoint.

mod json;

use std::collections::BTreeMap;

use tokenizers::models::bpe::{BPE, Merges, Vocab};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::processors::roberta::RobertaProcessing;
use tokenizers::{AddedToken, Tokenizer};

use crate::files::{ADDED_TOKENS, MERGES, VOCABULARY};
use crate::tokens;

/// BART's special tokens, in the order of their ids.
const BART_SPECIAL: [&str; 5] = [tokens::BOS, tokens::PAD, tokens::EOS, tokens::UNK, tokens::MASK];

/// The maximum sum of the gaps in the ids of `added_tokens.json`; a larger one suggests the list of another model.
const MAX_GAPS: usize = 1000;

/// The maximum number of tokens: 5 times Florence-2's.
const MAX_TOKENS: usize = 1 << 18;

/// The maximum size of the added tokens' text, in bytes: Florence-2's have 10 KB. The automaton that finds them in a prompt
/// takes some hundred bytes for each.
const MAX_ADDED_BYTES: usize = 1 << 19;

/// The error for invalid tokenizer files.
#[derive(Debug, thiserror::Error)]
#[error("{reason}; fetch the model's tokenizer files again")]
pub struct InvalidTokenizer {
    /// The file's name and what is wrong with it.
    pub reason: String,
}

/// Returns the tokenizer of a `tokenizer.json`, without its truncation and padding, which training leaves in the file.
///
/// # Errors
/// If the file is invalid, too large, or has components that Florence-2's byte-level BPE does not have.
pub fn from_json(json: &[u8]) -> Result<Tokenizer, InvalidTokenizer> {
    json::read(json)
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
    let merges = std::str::from_utf8(merges).map_err(|error| invalid(MERGES, error))?;
    let merges = pairs(MERGES, merges.lines())?;
    let vocabulary = vocabulary.into_iter().collect();
    check_ids(VOCABULARY, &vocabulary)?;
    let mut tokenizer = Tokenizer::new(bpe(MERGES, vocabulary, merges)?);
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
    check_added(ADDED_TOKENS, listed.iter().map(|(token, _)| token.as_str()))?;
    let mut next = tokenizer.get_vocab_size(true);
    let end = next + listed.len() + MAX_GAPS;
    let mut tokens = Vec::new();
    for (token, id) in &listed {
        let wanted = *id as usize;
        match tokenizer.token_to_id(token) {
            Some(known) if known == *id => continue,
            None if (next..end).contains(&wanted) => {
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

/// Parses lines of `merges.txt`: one pair each.
fn pairs<'l>(file: &str, lines: impl Iterator<Item = &'l str>) -> Result<Merges, InvalidTokenizer> {
    lines
        .filter(|line| !line.starts_with("#version") && !line.is_empty())
        .map(|line| {
            let (left, right) = line
                .split_once(' ')
                .ok_or_else(|| invalid(file, "each merge must be two parts"))?;
            Ok((left.to_owned(), right.to_owned()))
        })
        .collect()
}

/// Checks that the ids of a vocabulary are unique and below [`MAX_TOKENS`].
fn check_ids(file: &str, vocabulary: &Vocab) -> Result<(), InvalidTokenizer> {
    let mut is_taken = vec![false; MAX_TOKENS];
    for (token, &id) in vocabulary {
        match is_taken.get_mut(id as usize) {
            Some(taken) if !*taken => *taken = true,
            Some(_) => return Err(invalid(file, format!("{token} has the id {id} of another token"))),
            None => {
                return Err(invalid(
                    file,
                    format!("{token} has the id {id}; the limit is {MAX_TOKENS}"),
                ));
            }
        }
    }
    Ok(())
}

/// Returns the model of a vocabulary and merges.
fn bpe(file: &str, vocabulary: Vocab, merges: Merges) -> Result<BPE, InvalidTokenizer> {
    // The builder panics on a result that is longer than all tokens.
    let longest = vocabulary.keys().map(String::len).max().unwrap_or(0);
    if let Some((left, right)) = merges
        .iter()
        .find(|(left, right)| left.len() + right.len() > longest)
    {
        return Err(invalid(
            file,
            format!("{left}{right}, the result of a merge, is not a token"),
        ));
    }
    let model = BPE::builder().vocab_and_merges(vocabulary, merges).build();
    model.map_err(|error| invalid(file, error))
}

/// Checks the size of the added tokens' text.
fn check_added<'t>(file: &str, tokens: impl Iterator<Item = &'t str>) -> Result<(), InvalidTokenizer> {
    let bytes: usize = tokens.map(str::len).sum();
    if bytes > MAX_ADDED_BYTES {
        return Err(invalid(
            file,
            format!("its added tokens have {bytes} bytes; the limit is {MAX_ADDED_BYTES}"),
        ));
    }
    Ok(())
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
        // Each gap is small, their sum is not.
        let far: Vec<String> = (1..20).map(|n| format!("\"<t{n}>\": {}", n * 900)).collect();
        assert!(with(&format!("{{{}}}", far.join(","))).is_err());
    }

    #[test]
    fn vocabularies_and_merges_that_do_not_fit_are_errors() {
        for (vocabulary, merges, part) in [
            (r#"{"<s>": 0, "</s>": 2, "a": 4294967295}"#, "", "vocab.json"),
            (r#"{"<s>": 0, "</s>": 2, "a": 2}"#, "", "of another token"),
            // The result is longer than all tokens, and shorter than the longest.
            (r#"{"<s>": 0, "</s>": 2, "aaa": 3}"#, "aaa aaa", "merges.txt"),
            (r#"{"<s>": 0, "</s>": 2, "a": 3}"#, "a a", "merges.txt"),
        ] {
            let error = from_vocabulary(vocabulary.as_bytes(), merges.as_bytes(), None)
                .unwrap_err()
                .to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
