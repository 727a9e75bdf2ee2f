//! The files beside the graphs, copied from the checkpoint and completed where runtimes need more.

mod generation;
mod preprocessor;
mod tokenizer;

use std::collections::{BTreeMap, BTreeSet};

use florence2_layout::files::{
    ADDED_TOKENS, CONFIG, GENERATION_CONFIG, IMAGE_PROCESSOR, MERGES, PREPROCESSOR_CONFIG, PROCESSOR_CONFIG,
    SPECIAL_TOKENS_MAP, TOKENIZER, TOKENIZER_CONFIG, VOCABULARY,
};
use florence2_layout::image_size::ImageSize;
use serde_json::{Map, Value, json};

use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
pub(crate) use generation::published as published_generation_config;
pub(crate) use preprocessor::image_size;

/// Files that are copied unchanged.
const COPIED: [&str; 4] = [SPECIAL_TOKENS_MAP, ADDED_TOKENS, VOCABULARY, MERGES];

/// Returns the files by name.
pub(crate) fn files(checkpoint: &Checkpoint, image_size: ImageSize) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    let mut push = |name: &str, bytes: Vec<u8>| files.insert(name.to_owned(), bytes);
    push(CONFIG, checkpoint.file(CONFIG).unwrap_or_default().to_vec());
    push(
        PREPROCESSOR_CONFIG,
        pretty(preprocessor::complete(checkpoint, image_size)?),
    );
    let mut processor = read(checkpoint, PROCESSOR_CONFIG)?;
    if !processor.is_empty() {
        // Its image processor's settings are in preprocessor_config.json, with the image size of the export.
        processor.remove(IMAGE_PROCESSOR);
        push(PROCESSOR_CONFIG, pretty(processor));
    }
    push(GENERATION_CONFIG, pretty(generation::complete(checkpoint)?));
    if let Some(tokenizer) = tokenizer::complete(checkpoint)? {
        push(TOKENIZER, tokenizer);
        let config = checkpoint.file(TOKENIZER_CONFIG).map(<[u8]>::to_vec);
        push(
            TOKENIZER_CONFIG,
            config.unwrap_or_else(|| pretty(tokenizer_config())),
        );
    }
    for name in COPIED {
        if let Some(bytes) = checkpoint.file(name) {
            push(name, bytes.to_vec());
        }
    }
    Ok(files)
}

/// Returns the settings that loaders choose the tokenizer's class by.
fn tokenizer_config() -> Value {
    json!({
        "tokenizer_class": "BartTokenizer",
        "processor_class": "Florence2Processor",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "cls_token": "<s>",
        "sep_token": "</s>",
        "pad_token": "<pad>",
        "unk_token": "<unk>",
        "mask_token": "<mask>",
        "add_prefix_space": false,
        "clean_up_tokenization_spaces": false,
        "model_max_length": 1024,
    })
}

/// Returns the checkpoint's `config.json` with the setting by which transformers.js finds external data: the files of the
/// `graphs` whose weights are in a file beside them.
pub(crate) fn config_with_external_data(
    checkpoint: &Checkpoint,
    graphs: &BTreeSet<String>,
) -> Result<Vec<u8>> {
    let mut config = read(checkpoint, CONFIG)?;
    let section = config
        .entry("transformers.js_config")
        .or_insert_with(|| json!({}));
    if !section.is_object() {
        *section = json!({});
    }
    // `true` means a single file of external data.
    let files: Map<String, Value> = graphs.iter().map(|name| (name.clone(), true.into())).collect();
    section["use_external_data_format"] = Value::Object(files);
    Ok(pretty(config))
}

/// Returns the JSON object in a file of the checkpoint; an empty one if there is no such file.
fn read(checkpoint: &Checkpoint, name: &str) -> Result<Map<String, Value>> {
    match checkpoint.file(name) {
        Some(bytes) => serde_json::from_slice(bytes).map_err(Error::json(name)),
        None => Ok(Map::new()),
    }
}

/// Returns the entries of a JSON object.
fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(entries) => entries,
        _ => Map::new(),
    }
}

/// Sets each of the `defaults` whose key is absent or null.
fn set_defaults(settings: &mut Map<String, Value>, defaults: Map<String, Value>) {
    for (key, value) in defaults {
        if settings.get(&key).is_none_or(Value::is_null) {
            settings.insert(key, value);
        }
    }
}

/// Returns the bytes of a JSON file.
pub(crate) fn pretty(json: impl Into<Value>) -> Vec<u8> {
    format!("{:#}\n", json.into()).into_bytes()
}
