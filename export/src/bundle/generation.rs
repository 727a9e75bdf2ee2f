//! `generation_config.json`: the settings of decoding.

use florence2_layout::files::{CONFIG, GENERATION_CONFIG};
use florence2_layout::generation::{merge, published_search, settings_in_force};
use serde_json::{Map, Value, json};

use super::{object, read, set_defaults};
use crate::checkpoint::Checkpoint;
use crate::error::Result;

/// The settings that checkpoints keep in `config.json`'s `text_config` too.
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

/// Returns the checkpoint's settings, each from the file where it is [in force](settings_in_force); missing settings
/// are those of the published models.
pub(super) fn complete(checkpoint: &Checkpoint) -> Result<Map<String, Value>> {
    let mut settings = read(checkpoint, GENERATION_CONFIG)?;
    // The published models' search settings are the defaults only for a checkpoint without any settings: a checkpoint
    // with some settings relies on the library's defaults for the others.
    let has_settings = !settings.is_empty();
    let generation = has_settings.then(|| Value::Object(settings.clone()));
    let config = Value::Object(read(checkpoint, CONFIG)?);
    let merged = merge(settings_in_force(generation.as_ref(), Some(&config)));
    for key in IN_TEXT_CONFIG {
        if let Some(value) = merged.get(key) {
            settings.insert(key.to_owned(), value.clone());
        }
    }
    set_defaults(
        &mut settings,
        if has_settings { token_ids() } else { published() },
    );
    Ok(settings)
}

/// Returns the settings of the published models.
pub(crate) fn published() -> Map<String, Value> {
    let mut settings = token_ids();
    settings.extend(published_search());
    settings
}

fn token_ids() -> Map<String, Value> {
    object(json!({
        "bos_token_id": 0,
        "pad_token_id": 1,
        "eos_token_id": 2,
        "decoder_start_token_id": 2,
    }))
}
