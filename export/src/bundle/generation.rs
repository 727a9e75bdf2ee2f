//! `generation_config.json`: what the checkpoint asks of decoding.

use florence2_layout::files::{CONFIG, GENERATION_CONFIG};
use florence2_layout::generation::{merge, published_search, settings_in_force};
use serde_json::{Map, Value, json};

use super::{object, read, set_absent};
use crate::checkpoint::Checkpoint;
use crate::error::Result;

/// Settings that checkpoints keep in `config.json`'s `text_config` too.
const IN_TEXT_CONFIG: [&str; 11] = [
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

/// The checkpoint's settings, each from where it is [in force](settings_in_force); what is missing everywhere, from the
/// published models.
pub(super) fn complete(checkpoint: &Checkpoint) -> Result<Map<String, Value>> {
    let mut settings = read(checkpoint, GENERATION_CONFIG)?;
    // How to search is the published models' only where the checkpoint says nothing of generation at all: one
    // that has its own settings means what it leaves out.
    let silent = settings.is_empty();
    let generation = (!silent).then(|| Value::Object(settings.clone()));
    let config = Value::Object(read(checkpoint, CONFIG)?);
    let merged = merge(settings_in_force(generation.as_ref(), Some(&config)));
    for key in IN_TEXT_CONFIG {
        if let Some(value) = merged.get(key) {
            settings.insert(key.to_owned(), value.clone());
        }
    }
    let ids = object([
        ("bos_token_id", json!(0)),
        ("pad_token_id", json!(1)),
        ("eos_token_id", json!(2)),
        ("decoder_start_token_id", json!(2)),
    ]);
    let search = if silent { published_search() } else { Map::new() };
    for (key, value) in ids.into_iter().chain(search) {
        set_absent(&mut settings, &key, value);
    }
    Ok(settings)
}
