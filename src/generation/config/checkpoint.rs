//! The settings that a checkpoint carries: `generation_config.json`, and what older ones keep in `config.json`.

use std::collections::BTreeSet;

use florence2_layout::generation::{PUBLISHED_SEARCH, settings_in_force};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{EarlyStopping, GenerationConfig};
use crate::error::{Error, Result};

/// Settings of transformers that change what is generated and that this crate does not have, each with the number
/// that switches it off (besides its absence, null and false).
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

/// `max_length` that transformers 4 wrote into every `config.json`, whether meant or not.
const UNSET_MAX_LENGTH: usize = 20;

impl GenerationConfig {
    /// Returns the settings of a checkpoint, from `generation_config.json` and `config.json`: those that are in force in
    /// transformers.
    ///
    /// - A repository in Microsoft's form (`vision_config.dim_embed`) is run by its own code there, which looks at
    ///   `text_config` only. `text_config` is in force, and then `generation_config.json`: the published
    ///   `Florence-2-large` has `early_stopping: false` in the latter and `true` in the former, and `true` is in force.
    /// - Elsewhere `generation_config.json` is in force, by itself if it names `decoder_start_token_id`. If it does not,
    ///   transformers refuses to generate; a setting that it lacks is then taken from `text_config`, and then from the top
    ///   level of `config.json`. So is each where there is no `generation_config.json`.
    ///
    /// Beyond transformers: without `generation_config.json`, settings that `config.json` lacks too are those of the
    /// published models ([`PUBLISHED_SEARCH`]). The tokens that end a sequence are those of all places together, since
    /// many fine-tunes have a wrong one in one of them. The decoder starts with BART's token where none is named.
    /// Settings in `generation_config.json` that this crate does not have are logged.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] if a setting is not of its type or makes no sense.
    pub fn from_json(generation: Option<&Value>, config: Option<&Value>) -> Result<Self> {
        let text_config = config.and_then(|config| config.get("text_config"));
        let places = Places {
            generation,
            config: [text_config, config],
            in_force: settings_in_force(generation, config),
        };
        for (name, value) in generation.into_iter().flat_map(unsupported) {
            tracing::warn!(
                "generation_config.json sets {name} to {value}, which is not supported and is ignored"
            );
        }
        let default = generation.map_or_else(Self::published, |_| Self::default());
        let max_positions = text_config
            .into_iter()
            .chain(config)
            .find_map(|config| value(config, "max_position_embeddings"))
            .map(|positions| read("max_position_embeddings", positions))
            .transpose()?
            .unwrap_or(default.max_positions);
        let eos_token_ids = places.eos_token_ids()?;
        let mut settings = Self {
            num_beams: places.get("num_beams")?.unwrap_or(default.num_beams),
            num_return_sequences: places
                .get("num_return_sequences")?
                .unwrap_or(default.num_return_sequences),
            max_new_tokens: places.max_new_tokens()?.unwrap_or(max_positions),
            min_new_tokens: places.min_new_tokens()?.unwrap_or(default.min_new_tokens),
            length_penalty: places.get("length_penalty")?.unwrap_or(default.length_penalty),
            early_stopping: places.early_stopping()?.unwrap_or(default.early_stopping),
            no_repeat_ngram_size: places
                .get("no_repeat_ngram_size")?
                .unwrap_or(default.no_repeat_ngram_size),
            repetition_penalty: places
                .get("repetition_penalty")?
                .unwrap_or(default.repetition_penalty),
            bad_words_ids: places.get("bad_words_ids")?.unwrap_or_default(),
            suppress_tokens: places.get("suppress_tokens")?.unwrap_or_default(),
            begin_suppress_tokens: places.get("begin_suppress_tokens")?.unwrap_or_default(),
            forced_bos_token_id: places
                .token_ids("forced_bos_token_id")?
                .first()
                .copied()
                .or(default.forced_bos_token_id),
            forced_eos_token_ids: Some(places.token_ids("forced_eos_token_id")?)
                .filter(|ids| !ids.is_empty())
                .unwrap_or(default.forced_eos_token_ids),
            // Where it is not said it is BART's: transformers' configuration class has it as its default, and the
            // `bos_token_id` of fine-tunes is not to be trusted.
            decoder_start_token_id: places
                .token_ids("decoder_start_token_id")?
                .first()
                .copied()
                .unwrap_or(default.decoder_start_token_id),
            eos_token_ids: if eos_token_ids.is_empty() {
                default.eos_token_ids
            } else {
                eos_token_ids
            },
            renormalize_logits: places
                .get("renormalize_logits")?
                .unwrap_or(default.renormalize_logits),
            do_sample: places.get("do_sample")?.unwrap_or(default.do_sample),
            temperature: places.get("temperature")?.unwrap_or(default.temperature),
            top_k: places.get("top_k")?.unwrap_or(default.top_k),
            top_p: places.get("top_p")?.unwrap_or(default.top_p),
            min_p: places.get("min_p")?,
            typical_p: places.get("typical_p")?.unwrap_or(default.typical_p),
            seed: default.seed,
            max_positions,
        };
        settings.limit_to_positions();
        settings.forget_idle_sampling();
        settings.validate()?;
        Ok(settings)
    }
}

impl GenerationConfig {
    /// A checkpoint that does not sample may carry senseless settings of sampling (`temperature: 0`), which
    /// transformers only warns of.
    fn forget_idle_sampling(&mut self) {
        if self.do_sample {
            return;
        }
        if let Err(error) = self.validate_sampling() {
            tracing::warn!("generation_config.json: {error}; it is not in force and is ignored");
            let Self {
                temperature,
                top_k,
                top_p,
                min_p,
                typical_p,
                ..
            } = Self::default();
            *self = Self {
                temperature,
                top_k,
                top_p,
                min_p,
                typical_p,
                ..self.clone()
            };
        }
    }

    /// Puts the tokenizer's first and last token in the place of ids that the model's vocabulary does not have, and says
    /// so: fine-tunes carry those of other models.
    pub(crate) fn mend_token_ids(&mut self, vocabulary: usize, bos: u32, eos: u32) {
        let is_odd = |id: u32| usize::try_from(id).is_ok_and(|id| id >= vocabulary);
        let said = |name: &str, odd: u32, instead: u32| {
            tracing::warn!(
                "{name} is {odd}, but the model's vocabulary has {vocabulary} tokens: {instead} is taken, of the tokenizer"
            );
            instead
        };
        if is_odd(self.decoder_start_token_id) {
            // BART begins with the end of a sequence.
            self.decoder_start_token_id = said("decoder_start_token_id", self.decoder_start_token_id, eos);
        }
        for forced in self
            .forced_bos_token_id
            .iter_mut()
            .filter(|forced| is_odd(**forced))
        {
            *forced = said("forced_bos_token_id", *forced, bos);
        }
        let ends = [
            ("forced_eos_token_id", &mut self.forced_eos_token_ids),
            ("eos_token_id", &mut self.eos_token_ids),
        ];
        for (name, ids) in ends {
            for id in ids.iter_mut().filter(|id| is_odd(**id)) {
                *id = said(name, *id, eos);
            }
            let mut known = BTreeSet::new();
            ids.retain(|&id| known.insert(id));
        }
    }

    /// The defaults of a checkpoint that says nothing of generation.
    fn published() -> Self {
        Self {
            num_beams: PUBLISHED_SEARCH.num_beams,
            no_repeat_ngram_size: PUBLISHED_SEARCH.no_repeat_ngram_size,
            early_stopping: if PUBLISHED_SEARCH.early_stopping {
                EarlyStopping::WhenFull
            } else {
                EarlyStopping::Heuristic
            },
            forced_bos_token_id: Some(PUBLISHED_SEARCH.forced_bos_token_id),
            forced_eos_token_ids: vec![PUBLISHED_SEARCH.forced_eos_token_id],
            ..Self::default()
        }
    }
}

/// Where settings are looked for.
struct Places<'a> {
    generation: Option<&'a Value>,
    /// `text_config`, then the top level.
    config: [Option<&'a Value>; 2],
    /// The sources in force, highest priority first.
    in_force: Vec<&'a Value>,
}

impl<'a> Places<'a> {
    /// Every value that is not null, the one in force first.
    fn values(&self, name: &'static str) -> impl Iterator<Item = &'a Value> {
        self.in_force
            .clone()
            .into_iter()
            .filter_map(move |place| value(place, name))
    }

    fn get<T: DeserializeOwned>(&self, name: &'static str) -> Result<Option<T>> {
        self.values(name)
            .next()
            .map(|value| read(name, value))
            .transpose()
    }

    fn token_ids(&self, name: &'static str) -> Result<Vec<u32>> {
        self.values(name)
            .next()
            .map_or(Ok(Vec::new()), |value| read_token_ids(name, value))
    }

    /// Those of all places, each once.
    fn eos_token_ids(&self) -> Result<Vec<u32>> {
        const NAME: &str = "eos_token_id";
        let mut union = Vec::new();
        let places = [self.generation, self.config[0], self.config[1]];
        for value in places
            .into_iter()
            .flatten()
            .filter_map(|place| value(place, NAME))
        {
            for id in read_token_ids(NAME, value)? {
                if !union.contains(&id) {
                    union.push(id);
                }
            }
        }
        Ok(union)
    }

    fn max_new_tokens(&self) -> Result<Option<usize>> {
        if let Some(new) = self.get("max_new_tokens")? {
            return Ok(Some(new));
        }
        for &place in &self.in_force {
            let Some(length) = value(place, "max_length") else {
                continue;
            };
            let length = read("max_length", length)?;
            let is_in_generation = self.generation.is_some_and(|it| std::ptr::eq(it, place));
            if is_in_generation || length != UNSET_MAX_LENGTH {
                return Ok(Some(without_start_token(length)));
            }
        }
        Ok(None)
    }

    fn min_new_tokens(&self) -> Result<Option<usize>> {
        let new = self.get("min_new_tokens")?;
        let length = self.get("min_length")?.map(without_start_token);
        Ok(new.or(length))
    }

    fn early_stopping(&self) -> Result<Option<EarlyStopping>> {
        let read = |value: &Value| match value {
            Value::Bool(true) => Ok(EarlyStopping::WhenFull),
            Value::Bool(false) => Ok(EarlyStopping::Heuristic),
            Value::String(text) if text == "never" => Ok(EarlyStopping::Never),
            _ => Err(Error::InvalidOption {
                name: "early_stopping",
                reason: format!("is {value}; it must be true, false or \"never\""),
            }),
        };
        self.values("early_stopping").next().map(read).transpose()
    }
}

/// A setting that is not null.
fn value<'a>(place: &'a Value, name: &str) -> Option<&'a Value> {
    place.get(name).filter(|value| !value.is_null())
}

fn read<T: DeserializeOwned>(name: &'static str, value: &Value) -> Result<T> {
    T::deserialize(value).map_err(|error| Error::InvalidOption {
        name,
        reason: format!("is {value} in the checkpoint: {error}"),
    })
}

/// One id or several; negative ones, which stand for none in some checkpoints, are left out.
fn read_token_ids(name: &'static str, value: &Value) -> Result<Vec<u32>> {
    let ids: Vec<i64> = if value.is_array() {
        read(name, value)?
    } else {
        vec![read(name, value)?]
    };
    Ok(ids.into_iter().filter_map(|id| u32::try_from(id).ok()).collect())
}

/// The lengths of transformers count the start token.
fn without_start_token(length: usize) -> usize {
    length.saturating_sub(1)
}

/// The settings that this crate does not have, where they are switched on.
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
    fn only_unsupported_settings_that_are_on_are_warned_of() {
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
