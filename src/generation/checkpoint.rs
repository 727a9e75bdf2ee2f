//! Generation settings of a checkpoint: `generation_config.json`, and `config.json` of older checkpoints.

use std::collections::BTreeSet;

use florence2_layout::generation::{merge, published_search, settings_in_force};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::config::{DEFAULT_EOS_TOKEN_ID, EarlyStopping, GenerationConfig};
use crate::error::Result;
use crate::settings::deserialize;

/// Settings of transformers that change the generated tokens and that this crate does not support, each with the
/// number that disables it (null and false disable it too).
const UNSUPPORTED: [(&str, Option<f64>); 20] = [
    ("constraints", None),
    ("diversity_penalty", Some(0.0)),
    ("dola_layers", None),
    ("encoder_no_repeat_ngram_size", Some(0.0)),
    ("encoder_repetition_penalty", Some(1.0)),
    ("epsilon_cutoff", Some(0.0)),
    ("eta_cutoff", Some(0.0)),
    ("exponential_decay_length_penalty", None),
    ("force_words_ids", None),
    ("guidance_scale", Some(1.0)),
    ("max_time", None),
    ("num_beam_groups", Some(1.0)),
    ("penalty_alpha", Some(0.0)),
    ("prompt_lookup_num_tokens", None),
    ("remove_invalid_values", None),
    ("sequence_bias", None),
    ("stop_strings", None),
    ("token_healing", None),
    ("top_h", None),
    ("watermarking_config", None),
];

const FILES: &str = "generation_config.json or config.json";
const MAX_POSITIONS: &str = "max_position_embeddings";

/// Lengths as transformers names them. `max_length` and `min_length` count the decoder's start token.
#[derive(Deserialize)]
struct Lengths {
    max_new_tokens: Option<usize>,
    max_length: Option<usize>,
    min_new_tokens: Option<usize>,
    min_length: Option<usize>,
}

impl GenerationConfig {
    /// Returns the settings of a checkpoint, from `generation_config.json` and `config.json`: those that are in force in
    /// transformers.
    ///
    /// - A repository in Microsoft's form (`vision_config.dim_embed`) is run by its own code there, which reads
    ///   `text_config` only. `text_config` is in force, and then `generation_config.json`: the published
    ///   `Florence-2-large` has `early_stopping: true` in `text_config` and `false` in `generation_config.json`, and
    ///   `true` is in force.
    /// - In other repositories, `generation_config.json` is in force, alone if it has `decoder_start_token_id`.
    ///   Without that setting, transformers refuses to generate; missing settings are then taken from `text_config`,
    ///   and then from the top level of `config.json`. The same holds for all settings if there is no
    ///   `generation_config.json`.
    ///
    /// Beyond transformers: without `generation_config.json`, settings that `config.json` lacks too are those of the
    /// published models ([`published_search`]). `eos_token_id` is the union of all sources, since many fine-tunes have a
    /// wrong one in one of them. `decoder_start_token_id` defaults to BART's. Settings of `generation_config.json` that
    /// this crate does not support are logged.
    ///
    /// # Errors
    /// [`Error::InvalidSetting`](crate::Error::InvalidSetting) if a setting has the wrong type,
    /// [`Error::InvalidOption`](crate::Error::InvalidOption) if its value is out of range.
    pub fn from_json(generation: Option<&Value>, config: Option<&Value>) -> Result<Self> {
        for (name, value) in generation.into_iter().flat_map(unsupported) {
            tracing::warn!(
                "generation_config.json sets {name} to {value}, which is not supported and is ignored"
            );
        }
        let in_force = settings_in_force(generation, config);
        let mut settings = merge(in_force.iter().copied());
        // Negative ids stand for none in some checkpoints.
        settings.retain(|name, value| !name.ends_with("token_id") || !is_negative(value));
        if generation.is_none() {
            for (name, value) in published_search() {
                settings.entry(name).or_insert(value);
            }
        }
        let text_config = config.and_then(|config| config.get("text_config"));
        let positions = merge([text_config, config].into_iter().flatten()).remove(MAX_POSITIONS);
        settings.insert(MAX_POSITIONS.to_owned(), positions.unwrap_or_default());
        settings.insert("max_length".to_owned(), max_length(&in_force, generation));
        settings.insert(
            "eos_token_id".to_owned(),
            all_end_tokens([generation, text_config, config]),
        );

        let lengths: Lengths = deserialize(FILES, settings.clone())?;
        let mut read: Self = deserialize(FILES, settings)?;
        let without_start = |length: usize| length.saturating_sub(1);
        let max = lengths.max_new_tokens.or(lengths.max_length.map(without_start));
        let min = lengths.min_new_tokens.or(lengths.min_length.map(without_start));
        read.max_new_tokens = max.unwrap_or(read.max_positions);
        read.min_new_tokens = min.unwrap_or_default();
        read.limit_to_positions();
        read.reset_unused_sampling();
        read.validate()?;
        Ok(read)
    }

    /// Resets invalid sampling settings, such as `temperature: 0`, of a checkpoint that does not sample: transformers only
    /// warns about them.
    fn reset_unused_sampling(&mut self) {
        if !self.do_sample
            && let Err(error) = self.validate_sampling()
        {
            tracing::warn!("generation_config.json: {error}; it is ignored, since do_sample is off");
            let default = Self::default();
            self.temperature = default.temperature;
            self.top_k = default.top_k;
            self.top_p = default.top_p;
            self.min_p = default.min_p;
            self.typical_p = default.typical_p;
        }
    }

    /// Replaces token ids beyond the model's vocabulary, which fine-tunes have copied from other models, by the
    /// tokenizer's `bos` and `eos`, and logs a warning for each.
    pub(crate) fn replace_unknown_tokens(&mut self, vocabulary: usize, bos: u32, eos: u32) {
        let replace = |name: &str, id: &mut u32, known: u32| {
            if *id as usize >= vocabulary {
                tracing::warn!(
                    "{name} is {id}, but the model's vocabulary has {vocabulary} tokens: the tokenizer's {known} is used"
                );
                *id = known;
            }
        };
        // BART's decoder starts with the end of a sequence.
        replace("decoder_start_token_id", &mut self.decoder_start_token_id, eos);
        if let Some(id) = &mut self.forced_bos_token_id {
            replace("forced_bos_token_id", id, bos);
        }
        for (name, ids) in [
            ("forced_eos_token_id", &mut self.forced_eos_token_ids),
            ("eos_token_id", &mut self.eos_token_ids),
        ] {
            ids.iter_mut().for_each(|id| replace(name, id, eos));
            let mut known = BTreeSet::new();
            ids.retain(|&id| known.insert(id));
        }
    }
}

impl<'de> Deserialize<'de> for EarlyStopping {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Bool(true) => Ok(Self::WhenFull),
            Value::Bool(false) => Ok(Self::Heuristic),
            Value::String(text) if text == "never" => Ok(Self::Never),
            value => Err(D::Error::custom(format!(
                "{value} is not true, false or \"never\""
            ))),
        }
    }
}

/// Deserializes one token id, several, or `null` for none. Negative ids, which stand for none in some checkpoints, are left out.
pub(super) fn token_ids<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u32>, D::Error> {
    let ids = match Value::deserialize(deserializer)? {
        Value::Array(ids) => ids,
        Value::Null => Vec::new(),
        id => vec![id],
    };
    let ids: Vec<i64> = Deserialize::deserialize(Value::Array(ids)).map_err(D::Error::custom)?;
    Ok(ids.into_iter().filter_map(|id| u32::try_from(id).ok()).collect())
}

/// Deserializes the first of one token id or several.
pub(super) fn first_token_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    Ok(token_ids(deserializer)?.first().copied())
}

/// Deserializes the first of one token id or several; BART's start token if there is none.
pub(super) fn start_token_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    Ok(first_token_id(deserializer)?.unwrap_or(DEFAULT_EOS_TOKEN_ID))
}

fn is_negative(id: &Value) -> bool {
    id.as_i64().is_some_and(|id| id < 0)
}

/// Returns the end tokens of all sources, each once, or null.
fn all_end_tokens(sources: [Option<&Value>; 3]) -> Value {
    let mut union = Vec::new();
    for ids in sources
        .into_iter()
        .flatten()
        .filter_map(|source| source.get("eos_token_id"))
    {
        let ids = ids.as_array().map_or(std::slice::from_ref(ids), Vec::as_slice);
        for id in ids.iter().filter(|id| !id.is_null() && !is_negative(id)) {
            if !union.contains(id) {
                union.push(id.clone());
            }
        }
    }
    if union.is_empty() {
        Value::Null
    } else {
        Value::Array(union)
    }
}

/// Returns the `max_length` in force, or null. transformers 4 wrote `max_length: 20` into every `config.json`, meant or not.
fn max_length(in_force: &[&Value], generation: Option<&Value>) -> Value {
    let is_meant =
        |source: &&&Value| Some(**source) == generation || source.get("max_length") != Some(&json!(20));
    merge(in_force.iter().filter(is_meant).copied())
        .remove("max_length")
        .unwrap_or_default()
}

/// Returns the unsupported settings that are switched on.
fn unsupported(generation: &Value) -> impl Iterator<Item = (&'static str, &Value)> {
    let is_on = |value: &Value, off: Option<f64>| match value {
        Value::Null | Value::Bool(false) => false,
        Value::Number(number) => off.is_none() || number.as_f64() != off,
        _ => true,
    };
    UNSUPPORTED.into_iter().filter_map(move |(name, off)| {
        generation
            .get(name)
            .filter(|value| is_on(value, off))
            .map(|value| (name, value))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_unsupported_settings_that_are_on_are_reported() {
        let off = json!({
            "num_beam_groups": 1, "diversity_penalty": 0.0, "guidance_scale": null, "token_healing": false,
            "encoder_repetition_penalty": 1.0, "num_beams": 3, "use_cache": true
        });
        assert_eq!(unsupported(&off).count(), 0);
        let on = json!({
            "num_beam_groups": 2, "sequence_bias": [[[1], 2.0]], "token_healing": true, "max_time": 3, "num_beams": 3
        });
        let names: Vec<_> = unsupported(&on).map(|(name, _)| name).collect();
        assert_eq!(
            names,
            ["max_time", "num_beam_groups", "sequence_bias", "token_healing"]
        );
    }
}
