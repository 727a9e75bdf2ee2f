//! Generation settings: where checkpoints keep them, and those of the published models.

use serde_json::{Map, Value, json};

/// Returns the search settings of the published models, as `generation_config.json` of `Florence-2-base` has them.
pub fn published_search() -> Map<String, Value> {
    let settings = json!({
        "forced_bos_token_id": 0,
        "forced_eos_token_id": 2,
        "num_beams": 3,
        "no_repeat_ngram_size": 3,
        "early_stopping": true,
    });
    settings.as_object().cloned().unwrap_or_default()
}

/// Returns the JSON objects whose generation settings are in force for a checkpoint, highest priority first. A setting that
/// is missing or null in one is taken from the next: see [`merge`].
///
/// The order is what transformers does with each kind of repository:
/// - In Microsoft's form (`config.json` has `vision_config.dim_embed`), the repository's own code builds BART from
///   `text_config`, and its `generate` is BART's: `text_config` is in force, and `generation_config.json` is not
///   read. The published `Florence-2-large` has `early_stopping: false` in `generation_config.json` and `true` in
///   `text_config`: `true` is in force. A setting that `text_config` lacks is taken from `generation_config.json`,
///   since transformers 5 saves it only there.
/// - In transformers' own form, `generation_config.json` is in force, and `text_config` only where that file is missing.
/// - `generate` fails if `generation_config.json` has no `decoder_start_token_id`. Repositories of Microsoft's form
///   with a converted `config.json` have such a file: missing settings are taken from `text_config`.
pub fn settings_in_force<'a>(generation: Option<&'a Value>, config: Option<&'a Value>) -> Vec<&'a Value> {
    let text = config.and_then(|config| config.get("text_config"));
    let sources = if config.is_some_and(is_microsofts) {
        [text, generation, config]
    } else if generation.is_some_and(|generation| has(generation, "decoder_start_token_id")) {
        [generation, None, None]
    } else {
        [generation, text, config]
    };
    sources.into_iter().flatten().collect()
}

/// Merges JSON objects: each key has its first value that is not null.
pub fn merge<'a>(sources: impl IntoIterator<Item = &'a Value>) -> Map<String, Value> {
    let mut merged = Map::new();
    for (key, value) in sources.into_iter().filter_map(Value::as_object).flatten() {
        if !value.is_null() && !merged.contains_key(key) {
            merged.insert(key.clone(), value.clone());
        }
    }
    merged
}

/// Whether a `config.json` is read by Microsoft's code. Converted ones have transformers' settings too, which are in force
/// then.
fn is_microsofts(config: &Value) -> bool {
    config
        .get("vision_config")
        .is_some_and(|vision| has(vision, "dim_embed") && !has(vision, "embed_dim"))
}

fn has(object: &Value, key: &str) -> bool {
    object.get(key).is_some_and(|value| !value.is_null())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sources_are_those_of_transformers() {
        let text = json!({"num_beams": 3});
        let microsoft = json!({"vision_config": {"dim_embed": [8]}, "text_config": text});
        let native = json!({"vision_config": {"embed_dim": [8]}, "text_config": text});
        let converted = json!({"vision_config": {"dim_embed": [8], "embed_dim": [8]}, "text_config": text});
        let (short, whole) = (json!({"num_beams": 1}), json!({"decoder_start_token_id": 2}));
        let in_force = |generation, config| settings_in_force(Some(generation), Some(config));
        assert_eq!(in_force(&short, &microsoft), [&text, &short, &microsoft]);
        assert_eq!(in_force(&whole, &microsoft), [&text, &whole, &microsoft]);
        for config in [&native, &converted] {
            assert_eq!(in_force(&short, config), [&short, &text, config]);
            assert_eq!(in_force(&whole, config), [&whole]);
            assert_eq!(settings_in_force(None, Some(config)), [&text, config]);
        }
        assert_eq!(settings_in_force(Some(&short), None), [&short]);
    }

    #[test]
    fn merging_takes_the_first_value_that_is_not_null() {
        let (first, second) = (json!({"a": null, "b": 1}), json!({"a": 2, "b": 3, "c": null}));
        assert_eq!(Value::Object(merge([&first, &second])), json!({"a": 2, "b": 1}));
    }
}
