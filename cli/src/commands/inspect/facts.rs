//! The settings of a model's configuration files.

use florence2::generation::{EarlyStopping, GenerationConfig};
use florence2::{Bundle, Florence2};
use serde::Serialize;
use serde_json::{Map, Value, json};

/// The main settings, by group.
#[derive(Debug, Serialize)]
pub struct Facts {
    /// The language model's settings in `config.json`.
    pub text: Map<String, Value>,
    /// The vision encoder's settings in `config.json`.
    pub vision: Map<String, Value>,
    /// The image processor's settings in `preprocessor_config.json`.
    pub image: Map<String, Value>,
    /// The generation settings in force; empty if the model cannot be loaded.
    pub generation: Map<String, Value>,
}

const TEXT: [&str; 9] = [
    "d_model",
    "encoder_layers",
    "decoder_layers",
    "encoder_attention_heads",
    "decoder_attention_heads",
    "encoder_ffn_dim",
    "decoder_ffn_dim",
    "vocab_size",
    "max_position_embeddings",
];
/// The names of transformers and of Microsoft's checkpoints.
const VISION: [&str; 8] = [
    "embed_dim",
    "dim_embed",
    "depths",
    "num_heads",
    "num_groups",
    "window_size",
    "projection_dim",
    "image_feature_source",
];
const IMAGE: [&str; 5] = ["size", "crop_size", "resample", "image_mean", "image_std"];

impl Facts {
    pub fn of(bundle: &Bundle, model: Option<&Florence2>) -> Self {
        Self {
            text: settings(bundle.config.as_ref(), "text_config", &TEXT),
            vision: settings(bundle.config.as_ref(), "vision_config", &VISION),
            image: settings(bundle.preprocessor_config.as_ref(), "", &IMAGE),
            generation: model
                .map(|model| generation(model.generation_config()))
                .unwrap_or_default(),
        }
    }
}

/// Returns the settings `keys` of a group, without those that it lacks.
fn settings(config: Option<&Value>, group: &str, keys: &[&str]) -> Map<String, Value> {
    let config = config.map(|config| config.get(group).unwrap_or(config));
    let found = keys
        .iter()
        .filter_map(|key| Some(((*key).to_owned(), config?.get(key)?.clone())));
    found.filter(|(_, value)| !value.is_null()).collect()
}

fn generation(config: &GenerationConfig) -> Map<String, Value> {
    let early_stopping = match config.early_stopping {
        EarlyStopping::Heuristic => json!(false),
        EarlyStopping::WhenFull => json!(true),
        EarlyStopping::Never => json!("never"),
    };
    [
        ("num_beams", json!(config.num_beams)),
        ("max_new_tokens", json!(config.max_new_tokens)),
        ("length_penalty", json!(config.length_penalty)),
        ("early_stopping", early_stopping),
        ("no_repeat_ngram_size", json!(config.no_repeat_ngram_size)),
        ("do_sample", json!(config.do_sample)),
        ("forced_bos_token_id", json!(config.forced_bos_token_id)),
        ("forced_eos_token_ids", json!(config.forced_eos_token_ids)),
        ("eos_token_ids", json!(config.eos_token_ids)),
        ("decoder_start_token_id", json!(config.decoder_start_token_id)),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into_iter()
    .collect()
}
