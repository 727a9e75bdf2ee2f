//! `tokenizer.json`: BART's byte-level BPE, with Florence-2's task and location tokens.

use florence2_layout::files::{ADDED_TOKENS, MERGES, TOKENIZER, VOCABULARY};
use florence2_layout::tokenizer::{self, InvalidTokenizer};

use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};

/// Returns the checkpoint's `tokenizer.json` with all added tokens, unchanged if it has them; without one, it is built from
/// `vocab.json` and `merges.txt`. Returns `None`, after a warning, if the checkpoint has no tokenizer.
pub(super) fn complete(checkpoint: &Checkpoint) -> Result<Option<Vec<u8>>> {
    let original = checkpoint.file(TOKENIZER);
    let mut tokenizer = match (original, checkpoint.file(VOCABULARY), checkpoint.file(MERGES)) {
        (Some(json), ..) => tokenizer::from_json(json)?,
        (None, Some(vocabulary), Some(merges)) => {
            tokenizer::from_vocabulary(vocabulary, merges, checkpoint.file(ADDED_TOKENS))?
        }
        _ => {
            tracing::warn!("the checkpoint has no tokenizer.json, nor vocab.json and merges.txt");
            return Ok(None);
        }
    };
    let added = tokenizer::complete(&mut tokenizer)?;
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
    match original {
        Some(original) if added == 0 => Ok(Some(original.to_vec())),
        _ => {
            tracing::info!(tokens = added, "added to the tokenizer");
            let json = tokenizer.to_string(true);
            let json = json.map_err(|error| {
                Error::Tokenizer(InvalidTokenizer {
                    reason: error.to_string(),
                })
            })?;
            Ok(Some(json.into_bytes()))
        }
    }
}
