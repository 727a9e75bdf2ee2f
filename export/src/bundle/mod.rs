//! The files beside the graphs: copied from the checkpoint, and completed where runtimes would miss something.

mod generation;
mod model_config;
mod preprocessor;
mod tokenizer;

use std::collections::BTreeMap;

use florence2_layout::files::{
    ADDED_TOKENS, CONFIG, GENERATION_CONFIG, IMAGE_PROCESSOR, MERGES, PREPROCESSOR_CONFIG, PROCESSOR_CONFIG,
    SPECIAL_TOKENS_MAP, TOKENIZER, TOKENIZER_CONFIG, VOCABULARY,
};
use serde_json::{Map, Value, json};

use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::image_size::ImageSize;
pub(crate) use model_config::naming_external_data;
pub(crate) use preprocessor::image_size;

/// Copied as they are.
const COPIED: [&str; 4] = [SPECIAL_TOKENS_MAP, ADDED_TOKENS, VOCABULARY, MERGES];

/// The files, by name.
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
        // Its settings are in preprocessor_config.json now, with the size of these graphs.
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

/// What loaders need to pick the tokenizer's class.
fn tokenizer_config() -> Map<String, Value> {
    object([
        ("tokenizer_class", json!("BartTokenizer")),
        ("processor_class", json!("Florence2Processor")),
        ("bos_token", json!("<s>")),
        ("eos_token", json!("</s>")),
        ("cls_token", json!("<s>")),
        ("sep_token", json!("</s>")),
        ("pad_token", json!("<pad>")),
        ("unk_token", json!("<unk>")),
        ("mask_token", json!("<mask>")),
        ("add_prefix_space", json!(false)),
        ("clean_up_tokenization_spaces", json!(false)),
        ("model_max_length", json!(1024)),
    ])
}

/// A JSON file of the checkpoint, which holds an object; empty if it is not there.
fn read(checkpoint: &Checkpoint, name: &str) -> Result<Map<String, Value>> {
    let Some(bytes) = checkpoint.file(name) else {
        return Ok(Map::new());
    };
    serde_json::from_slice(bytes).map_err(|source| Error::Json {
        file: name.to_owned(),
        source,
    })
}

fn object<const N: usize>(entries: [(&str, Value); N]) -> Map<String, Value> {
    entries
        .map(|(key, value)| (key.to_owned(), value))
        .into_iter()
        .collect()
}

/// Sets what is absent or null.
fn set_absent(map: &mut Map<String, Value>, key: &str, value: Value) {
    if map.get(key).is_none_or(Value::is_null) {
        map.insert(key.to_owned(), value);
    }
}

fn pretty(map: Map<String, Value>) -> Vec<u8> {
    let mut text = format!("{:#}", Value::Object(map));
    text.push('\n');
    text.into_bytes()
}
