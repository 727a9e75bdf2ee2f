//! The settings of a model's configuration files.

use florence2::generation::{EarlyStopping, GenerationConfig};
use florence2::{Bundle, Florence2};
use serde_json::{Map, Value, json};

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

/// Returns the main settings by group: `text` and `vision` of `config.json`, `image` of `preprocessor_config.json`, and
/// `generation`, the generation settings in force, which is empty if the model cannot be loaded.
pub fn facts(bundle: &Bundle, model: Option<&Florence2>) -> Value {
    json!({
        "text": settings(bundle.config.as_ref(), "text_config", &TEXT),
        "vision": settings(bundle.config.as_ref(), "vision_config", &VISION),
        "image": settings(bundle.preprocessor_config.as_ref(), "", &IMAGE),
        "generation": model.map_or_else(|| json!({}), |model| generation(model.generation_config())),
    })
}

/// Returns the settings of a group whose names are in `keys`; missing settings are left out.
fn settings(config: Option<&Value>, group: &str, keys: &[&str]) -> Map<String, Value> {
    let config = config.map(|config| config.get(group).unwrap_or(config));
    let found = keys
        .iter()
        .filter_map(|key| Some(((*key).to_owned(), config?.get(key)?.clone())));
    found.filter(|(_, value)| !value.is_null()).collect()
}

fn generation(config: &GenerationConfig) -> Value {
    json!({
        "num_beams": config.num_beams,
        "max_new_tokens": config.max_new_tokens,
        "length_penalty": config.length_penalty,
        "early_stopping": match config.early_stopping {
            EarlyStopping::Heuristic => json!(false),
            EarlyStopping::WhenFull => json!(true),
            EarlyStopping::Never => json!("never"),
        },
        "no_repeat_ngram_size": config.no_repeat_ngram_size,
        "do_sample": config.do_sample,
        "forced_bos_token_id": config.forced_bos_token_id,
        "forced_eos_token_ids": config.forced_eos_token_ids,
        "eos_token_ids": config.eos_token_ids,
        "decoder_start_token_id": config.decoder_start_token_id,
    })
}
