//! `adapter_config.json`.

use regex::Regex;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use florence2_layout::files::ADAPTER_CONFIG;

/// The kind of adapter that can be merged.
const LORA: &str = "LORA";
/// Settings that are read here or have no effect on the merged weights. Any other setting that is in use is an error.
const KNOWN: [&str; 28] = [
    "alpha_pattern",
    "auto_mapping",
    "base_model_name_or_path",
    "bias",
    "corda_config",
    "ensure_weight_tying",
    "eva_config",
    "exclude_modules",
    "fan_in_fan_out",
    "inference_mode",
    "init_lora_weights",
    "layers_pattern",
    "layers_to_transform",
    "loftq_config",
    "lora_alpha",
    "lora_dropout",
    "lora_ga_config",
    "megatron_core",
    "modules_to_save",
    "peft_type",
    "peft_version",
    "qalora_group_size",
    "r",
    "rank_pattern",
    "revision",
    "target_modules",
    "task_type",
    "use_rslora",
];
/// Initializations of LoRA that leave the base model's weights as they are.
const PLAIN_INITIALIZATIONS: [&str; 4] = ["gaussian", "eva", "orthogonal", "true"];

/// The settings of a LoRA adapter that determine the merged weights.
#[derive(Debug, Deserialize)]
pub(super) struct AdapterConfig {
    #[serde(default = "default_rank")]
    r: usize,
    #[serde(default = "default_alpha")]
    lora_alpha: f64,
    #[serde(default)]
    rank_pattern: Option<Map<String, Value>>,
    #[serde(default)]
    alpha_pattern: Option<Map<String, Value>>,
    #[serde(default)]
    use_rslora: Option<bool>,
    #[serde(default)]
    modules_to_save: Option<Vec<String>>,
}

fn default_rank() -> usize {
    8
}

fn default_alpha() -> f64 {
    8.0
}

impl AdapterConfig {
    /// Parses the settings.
    ///
    /// # Errors
    /// [`Error::AdapterFeature`] if the adapter needs more than LoRA, [`Error::Json`] if a setting has the wrong type.
    pub(super) fn from_json(json: &[u8]) -> Result<Self> {
        let json: Value = serde_json::from_slice(json).map_err(Error::json(ADAPTER_CONFIG))?;
        check_features(&json)?;
        serde_json::from_value(json).map_err(Error::json(ADAPTER_CONFIG))
    }

    /// Returns the rank of the adapter of a module.
    pub(super) fn rank(&self, module: &str) -> Result<usize> {
        let rank = pattern(self.rank_pattern.as_ref(), module)?;
        Ok(rank
            .and_then(Value::as_u64)
            .and_then(|rank| rank.try_into().ok())
            .unwrap_or(self.r))
    }

    /// Returns the factor of the adapter of a module.
    pub(super) fn scaling(&self, module: &str) -> Result<f32> {
        let alpha = pattern(self.alpha_pattern.as_ref(), module)?;
        let alpha = alpha.and_then(Value::as_f64).unwrap_or(self.lora_alpha);
        let rank = self.rank(module)? as f64;
        let divisor = if self.use_rslora.unwrap_or(false) {
            rank.sqrt()
        } else {
            rank
        };
        Ok((alpha / divisor) as f32)
    }

    /// Returns whether a module was trained as a copy of its own, by PEFT's rules for names.
    pub(super) fn is_saved(&self, module: &str) -> bool {
        let saved = self.modules_to_save.iter().flatten();
        saved
            .into_iter()
            .any(|name| module == name || module.ends_with(&format!(".{name}")))
    }
}

/// Returns the value of the first pattern that a module's path ends with.
fn pattern<'a>(patterns: Option<&'a Map<String, Value>>, module: &str) -> Result<Option<&'a Value>> {
    for (pattern, value) in patterns.into_iter().flatten() {
        let regex =
            Regex::new(&format!(r"^(.*\.)?({pattern})$")).map_err(|source| Error::AdapterPattern {
                pattern: pattern.clone(),
                source: source.into(),
            })?;
        if regex.is_match(module) {
            return Ok(Some(value));
        }
    }
    Ok(None)
}

/// Checks that no setting asks for what is not known here.
fn check_features(json: &Value) -> Result<()> {
    let unsupported = |feature: String| Err(Error::AdapterFeature { feature });
    match json.get("peft_type").and_then(Value::as_str) {
        Some(LORA) => {}
        Some(other) => return unsupported(other.to_owned()),
        None => return unsupported("no peft_type".to_owned()),
    }
    for (key, value) in json.as_object().into_iter().flatten() {
        if !KNOWN.contains(&key.as_str()) && is_set(value) {
            return unsupported(feature(key));
        }
    }
    if let Some(Value::String(initialization)) = json.get("init_lora_weights")
        && !PLAIN_INITIALIZATIONS.contains(&initialization.as_str())
    {
        return unsupported(format!(
            "init_lora_weights={initialization}, which changes the base model's weights"
        ));
    }
    let tied = json.get("ensure_weight_tying").is_some_and(is_set);
    if tied && json.get("modules_to_save").is_some_and(is_set) {
        return unsupported("ensure_weight_tying with modules_to_save".to_owned());
    }
    Ok(())
}

/// Returns a setting with the name of its method, if that differs.
fn feature(key: &str) -> String {
    let method = match key {
        "use_dora" => "DoRA",
        "use_qalora" => "QA-LoRA",
        "alora_invocation_tokens" => "aLoRA",
        "use_bdlora" => "BD-LoRA",
        "kasa_config" => "KaSA",
        "arrow_config" => "Arrow",
        _ => return key.to_owned(),
    };
    format!("{method} ({key})")
}

/// Returns whether Python takes a value as true.
fn is_set(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(value) => value.as_f64() != Some(0.0),
        Value::String(value) => !value.is_empty(),
        Value::Array(values) => !values.is_empty(),
        Value::Object(values) => !values.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(json: &str) -> Result<AdapterConfig> {
        AdapterConfig::from_json(json.as_bytes())
    }

    #[test]
    fn patterns_match_the_end_of_a_path() {
        let config = config(
            r#"{"peft_type": "LORA", "r": 4, "lora_alpha": 16, "use_rslora": true,
                "rank_pattern": {"^model.*.fc2": 9, "fc2": 2}, "alpha_pattern": {"layers.0.fc.": 6}}"#,
        )
        .unwrap();
        assert_eq!(config.rank("model.decoder.layers.0.fc2").unwrap(), 9);
        assert_eq!(config.rank("vision_tower.fc2").unwrap(), 2);
        assert_eq!(config.rank("vision_tower.myfc2").unwrap(), 4);
        assert_eq!(config.scaling("model.decoder.layers.0.fc2").unwrap(), 2.0);
        assert_eq!(config.scaling("model.decoder.layers.1.fc1").unwrap(), 8.0);
    }

    #[test]
    fn unknown_methods_are_named() {
        for (setting, named) in [
            (r#""peft_type": "IA3""#, "IA3"),
            (r#""r": 8"#, "no peft_type"),
            (r#""peft_type": "LORA", "use_dora": true"#, "DoRA"),
            (r#""peft_type": "LORA", "alora_invocation_tokens": [1]"#, "aLoRA"),
            (r#""peft_type": "LORA", "lora_bias": true"#, "lora_bias"),
            (
                r#""peft_type": "LORA", "trainable_token_indices": [3]"#,
                "trainable_token_indices",
            ),
            (r#""peft_type": "LORA", "init_lora_weights": "pissa""#, "pissa"),
            (
                r#""peft_type": "LORA", "of_the_future": {"a": 1}"#,
                "of_the_future",
            ),
        ] {
            match config(&format!("{{{setting}}}")) {
                Err(Error::AdapterFeature { feature }) => assert!(feature.contains(named), "{feature}"),
                other => panic!("{setting}: {other:?}"),
            }
        }
        let harmless =
            r#"{"peft_type": "LORA", "use_dora": false, "lora_bias": false, "of_the_future": null}"#;
        assert!(config(harmless).is_ok());
    }
}
