//! `tokenizer.json`: BART's byte-level BPE, with Florence-2's task and location tokens.

use florence2_layout::files::{ADDED_TOKENS, MERGES, TOKENIZER, VOCABULARY};
use std::collections::BTreeMap;

use florence2_layout::tokens;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::processors::roberta::RobertaProcessing;
use tokenizers::{AddedToken, Tokenizer};

use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};

/// BART's special tokens, in the order of their ids.
const BART_SPECIAL: [&str; 5] = [tokens::BOS, tokens::PAD, tokens::EOS, "<unk>", "<mask>"];

/// The checkpoint's tokenizer with all tokens, `None` if it has none. Without `tokenizer.json` it is made from
/// `vocab.json` and `merges.txt`. One that lacks nothing comes back as it is.
pub(super) fn complete(checkpoint: &Checkpoint) -> Result<Option<Vec<u8>>> {
    let text = |name: &'static str, bytes| {
        std::str::from_utf8(bytes).map_err(|_| Error::Tokenizer {
            reason: format!("{name} is not UTF-8"),
        })
    };
    let original = checkpoint.file(TOKENIZER);
    let mut tokenizer = match (original, checkpoint.file(VOCABULARY), checkpoint.file(MERGES)) {
        (Some(json), ..) => Tokenizer::from_bytes(json).map_err(invalid)?,
        (None, Some(vocabulary), Some(merges)) => {
            let added = checkpoint.file(ADDED_TOKENS);
            from_vocabulary(vocabulary, text(MERGES, merges)?, added)?
        }
        _ => {
            tracing::warn!("the checkpoint has no tokenizer.json, nor vocab.json and merges.txt");
            return Ok(None);
        }
    };
    let missing: Vec<AddedToken> = tokens::added()
        .filter(|token| tokenizer.token_to_id(token).is_none())
        .map(|token| AddedToken::from(token, true))
        .collect();
    let bytes = match original {
        Some(original) if missing.is_empty() => original.to_vec(),
        _ => {
            tracing::info!(tokens = missing.len(), "added to the tokenizer");
            tokenizer.add_special_tokens(missing).map_err(invalid)?;
            tokenizer.to_string(true).map_err(invalid)?.into_bytes()
        }
    };
    let (entries, rows) = (
        tokenizer.get_vocab_size(true),
        checkpoint.config().text_config.vocab_size,
    );
    if entries > rows {
        tracing::warn!(
            entries,
            rows,
            "the tokenizer has more tokens than the model has embeddings"
        );
    }
    Ok(Some(bytes))
}

/// BART's tokenizer from its vocabulary and merges, and the tokens that `added_tokens.json` lists.
fn from_vocabulary(vocabulary: &[u8], merges: &str, added: Option<&[u8]>) -> Result<Tokenizer> {
    let json = |file: &str, bytes: &[u8]| -> Result<BTreeMap<String, u32>> {
        serde_json::from_slice(bytes).map_err(|source| Error::Json {
            file: file.into(),
            source,
        })
    };
    let vocabulary = json(VOCABULARY, vocabulary)?;
    let id = |token: &str| {
        vocabulary.get(token).copied().ok_or_else(|| Error::Tokenizer {
            reason: format!("{VOCABULARY} has no {token}; is it another model's?"),
        })
    };
    let sep = (tokens::EOS.to_owned(), id(tokens::EOS)?);
    let cls = (tokens::BOS.to_owned(), id(tokens::BOS)?);
    let special: Vec<AddedToken> = BART_SPECIAL
        .iter()
        .filter(|token| vocabulary.contains_key(**token))
        .map(|&token| {
            AddedToken::from(token, true)
                .normalized(true)
                .lstrip(token == "<mask>")
        })
        .collect();
    let lines = merges
        .lines()
        .filter(|line| !line.starts_with("#version") && !line.is_empty());
    let merges: Option<Vec<(String, String)>> = lines
        .map(|line| {
            line.split_once(' ')
                .map(|(left, right)| (left.to_owned(), right.to_owned()))
        })
        .collect();
    let merges = merges.ok_or_else(|| Error::Tokenizer {
        reason: format!("{MERGES}: each line must be two parts"),
    })?;
    let model = BPE::builder()
        .vocab_and_merges(vocabulary.into_iter().collect::<Vocab>(), merges)
        .build()
        .map_err(invalid)?;
    let mut tokenizer = Tokenizer::new(model);
    tokenizer
        .with_pre_tokenizer(Some(ByteLevel::new(false, true, true)))
        .with_post_processor(Some(
            RobertaProcessing::new(sep, cls)
                .trim_offsets(true)
                .add_prefix_space(false),
        ))
        .with_decoder(Some(ByteLevel::default()));
    tokenizer.add_special_tokens(special).map_err(invalid)?;
    if let Some(added) = added {
        // New ids are given in order, so the listed ones come out as listed.
        let mut added: Vec<(String, u32)> = json(ADDED_TOKENS, added)?.into_iter().collect();
        added.sort_by_key(|(_, id)| *id);
        let added = added.into_iter().map(|(token, _)| AddedToken::from(token, true));
        tokenizer.add_special_tokens(added).map_err(invalid)?;
    }
    Ok(tokenizer)
}

fn invalid(error: tokenizers::Error) -> Error {
    Error::Tokenizer {
        reason: format!("{error}. Fetch the checkpoint's tokenizer files again."),
    }
}
