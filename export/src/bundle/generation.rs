//! `generation_config.json`: what the checkpoint asks of decoding.

use florence2_layout::files::{CONFIG, GENERATION_CONFIG};
use serde_json::{Map, Value, json};

use super::{object, read, set_absent};
use crate::checkpoint::Checkpoint;
use crate::error::Result;

/// Settings that older checkpoints keep in `config.json`'s `text_config`.
const FROM_TEXT_CONFIG: [&str; 11] = [
    "bos_token_id",
    "pad_token_id",
    "eos_token_id",
    "decoder_start_token_id",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "num_beams",
    "no_repeat_ngram_size",
    "early_stopping",
    "length_penalty",
    "repetition_penalty",
];

/// The checkpoint's settings; what is missing there from `text_config`, and what is missing there too from the
/// published models.
pub(super) fn complete(checkpoint: &Checkpoint) -> Result<Map<String, Value>> {
    let mut settings = read(checkpoint, GENERATION_CONFIG)?;
    // How to search is the published models' only where the checkpoint says nothing of generation at all: one
    // that has its own settings means what it leaves out.
    let silent = settings.is_empty();
    if let Some(Value::Object(text)) = read(checkpoint, CONFIG)?.get("text_config") {
        for key in FROM_TEXT_CONFIG {
            if let Some(value) = text.get(key).filter(|value| !value.is_null()) {
                set_absent(&mut settings, key, value.clone());
            }
        }
    }
    let ids = object([
        ("bos_token_id", json!(0)),
        ("pad_token_id", json!(1)),
        ("eos_token_id", json!(2)),
        ("decoder_start_token_id", json!(2)),
    ]);
    let search = object([
        ("forced_bos_token_id", json!(0)),
        ("forced_eos_token_id", json!(2)),
        ("num_beams", json!(3)),
        ("no_repeat_ngram_size", json!(3)),
        ("early_stopping", json!(true)),
    ]);
    for (key, value) in ids.into_iter().chain(search.into_iter().filter(|_| silent)) {
        set_absent(&mut settings, &key, value);
    }
    Ok(settings)
}
