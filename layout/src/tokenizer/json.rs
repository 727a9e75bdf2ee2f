//! A `tokenizer.json`, held to the components that Florence-2's has: on some others the crate `tokenizers` panics, or allocates
//! without bound.

use std::slice;

use serde::Deserialize;
use tokenizers::models::bpe::Vocab;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::processors::PostProcessorWrapper;
use tokenizers::{AddedToken, Tokenizer};

use super::{InvalidTokenizer, bpe, check_added, check_ids, invalid, pairs};
use crate::files::TOKENIZER;

/// The maximum size of the file, in bytes: Florence-2's has 3.6 MB.
const MAX_BYTES: usize = 16 << 20;

/// The types of post-processors that are accepted, in a `Sequence` too.
const POST_PROCESSORS: [&str; 3] = ["RobertaProcessing", "TemplateProcessing", "ByteLevel"];

/// A component's type, which is checked before the component is read. In older files the model has none.
#[derive(Deserialize)]
struct Component {
    r#type: Option<String>,
    #[serde(default)]
    processors: Vec<Component>,
}

impl Component {
    fn name(&self) -> &str {
        self.r#type.as_deref().unwrap_or("without a type")
    }
}

/// The components of a tokenizer.
#[derive(Deserialize)]
struct Components {
    version: Option<String>,
    normalizer: Option<Component>,
    pre_tokenizer: Option<Component>,
    post_processor: Option<Component>,
    decoder: Option<Component>,
    model: Component,
}

impl Components {
    /// Returns an error that names the first component that Florence-2's tokenizer does not have.
    fn check(&self) -> Result<(), InvalidTokenizer> {
        if let Some(version) = self.version.as_deref().filter(|&version| version != "1.0") {
            return Err(invalid(TOKENIZER, format!("version {version} is unknown")));
        }
        let is = |component: &Component, types: &[&str]| types.contains(&component.name());
        let post_processors = self.post_processor.iter().flat_map(|component| {
            let sequence = is(component, &["Sequence"]).then_some(&component.processors);
            sequence.map_or(slice::from_ref(component), Vec::as_slice)
        });
        let refused = [
            ("normalizer", self.normalizer.as_ref()),
            (
                "pre_tokenizer",
                self.pre_tokenizer
                    .as_ref()
                    .filter(|found| !is(found, &["ByteLevel"])),
            ),
            (
                "post_processor",
                post_processors.clone().find(|found| !is(found, &POST_PROCESSORS)),
            ),
            (
                "decoder",
                self.decoder.as_ref().filter(|found| !is(found, &["ByteLevel"])),
            ),
            (
                "model",
                Some(&self.model).filter(|found| found.r#type.as_deref().is_some_and(|name| name != "BPE")),
            ),
        ];
        let refused = refused
            .into_iter()
            .find_map(|(key, found)| Some((key, found?.name())));
        match refused {
            Some((key, found)) => Err(not_florence(format!("its {key} is {found}"))),
            None if self.pre_tokenizer.is_none() => Err(invalid(TOKENIZER, "it has no pre_tokenizer")),
            None => Ok(()),
        }
    }
}

#[derive(Deserialize)]
struct Contents {
    #[serde(default)]
    added_tokens: Vec<AddedToken>,
    pre_tokenizer: ByteLevel,
    post_processor: Option<PostProcessorWrapper>,
    decoder: Option<ByteLevel>,
    model: Model,
}

#[derive(Deserialize)]
struct Model {
    dropout: Option<f32>,
    unk_token: Option<String>,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
    fuse_unk: Option<bool>,
    byte_fallback: Option<bool>,
    ignore_merges: Option<bool>,
    vocab: Vocab,
    merges: Merges,
}

impl Model {
    /// Returns an error that names the first setting that Florence-2's model does not have. Newer files have empty texts for no
    /// prefix and no suffix.
    fn check(&self) -> Result<(), InvalidTokenizer> {
        let text = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
        let settings = [
            ("dropout", self.dropout.is_some_and(|rate| rate != 0.0)),
            ("continuing_subword_prefix", text(&self.continuing_subword_prefix)),
            ("end_of_word_suffix", text(&self.end_of_word_suffix)),
            ("byte_fallback", self.byte_fallback == Some(true)),
        ];
        match settings.into_iter().find(|(_, is_set)| *is_set) {
            Some((setting, _)) => Err(not_florence(format!("its model has a {setting}"))),
            None => Ok(()),
        }
    }
}

/// Merges as pairs, or in older files as lines of `merges.txt`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Merges {
    Pairs(Vec<(String, String)>),
    Lines(Vec<String>),
}

/// Returns the tokenizer of a `tokenizer.json`, without truncation and padding.
pub(super) fn read(json: &[u8]) -> Result<Tokenizer, InvalidTokenizer> {
    if json.len() > MAX_BYTES {
        return Err(invalid(TOKENIZER, format!("it has more than {MAX_BYTES} bytes")));
    }
    parse::<Components>(json)?.check()?;
    let contents: Contents = parse(json)?;
    check_added(
        TOKENIZER,
        contents.added_tokens.iter().map(|token| token.content.as_str()),
    )?;
    let model = contents.model;
    model.check()?;
    check_ids(TOKENIZER, &model.vocab)?;
    let merges = match model.merges {
        Merges::Pairs(merges) => merges,
        Merges::Lines(lines) => pairs(TOKENIZER, lines.iter().map(String::as_str))?,
    };
    let mut bpe = bpe(TOKENIZER, model.vocab, merges)?;
    bpe.unk_token = model.unk_token;
    bpe.fuse_unk = model.fuse_unk.unwrap_or_default();
    bpe.ignore_merges = model.ignore_merges.unwrap_or_default();
    let mut tokenizer = Tokenizer::new(bpe);
    tokenizer
        .with_pre_tokenizer(Some(contents.pre_tokenizer))
        .with_post_processor(contents.post_processor)
        .with_decoder(contents.decoder);
    tokenizer
        .add_tokens(contents.added_tokens)
        .map_err(|error| invalid(TOKENIZER, error))?;
    Ok(tokenizer)
}

fn parse<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, InvalidTokenizer> {
    serde_json::from_slice(json).map_err(|error| invalid(TOKENIZER, error))
}

fn not_florence(difference: String) -> InvalidTokenizer {
    invalid(
        TOKENIZER,
        format!("{difference}, which Florence-2's byte-level BPE does not have"),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn byte_level() -> Value {
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true})
    }

    fn roberta() -> Value {
        json!({
            "type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 0],
            "trim_offsets": true, "add_prefix_space": false
        })
    }

    fn template() -> Value {
        json!({
            "type": "TemplateProcessing",
            "single": [
                {"SpecialToken": {"id": "<s>", "type_id": 0}},
                {"Sequence": {"id": "A", "type_id": 0}},
                {"SpecialToken": {"id": "</s>", "type_id": 0}}
            ],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
            "special_tokens": {
                "<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]},
                "</s>": {"id": "</s>", "ids": [2], "tokens": ["</s>"]}
            }
        })
    }

    fn added(content: &str) -> Value {
        json!({
            "id": 6, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true
        })
    }

    /// A tokenizer of Florence-2's form, changed by `change`.
    fn file(change: impl FnOnce(&mut Value)) -> Vec<u8> {
        let mut json = json!({
            "version": "1.0", "truncation": null, "padding": null,
            "added_tokens": [added("<od>")],
            "normalizer": null,
            "pre_tokenizer": byte_level(),
            "post_processor": roberta(),
            "decoder": byte_level(),
            "model": {
                "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
                "vocab": {"<s>": 0, "<pad>": 1, "</s>": 2, "a": 3, "b": 4, "ab": 5},
                "merges": [["a", "b"]]
            }
        });
        change(&mut json);
        json.to_string().into_bytes()
    }

    #[test]
    fn published_forms_are_accepted() {
        let plain = file(|_| ());
        for json in [
            // Older files: merges as text, no type, only the required settings.
            file(|json| json["model"]["merges"] = json!(["#version: 0.2", "a b"])),
            file(|json| {
                json["model"] = json!({"vocab": json["model"]["vocab"], "merges": json["model"]["merges"]});
            }),
            // Newer files.
            file(|json| {
                json["model"]["continuing_subword_prefix"] = json!("");
                json["model"]["end_of_word_suffix"] = json!("");
                json["model"]["unk_token"] = json!("<pad>");
                json["model"]["dropout"] = json!(0.0);
            }),
            file(|json| json["added_tokens"][0]["id"] = json!(9)),
            file(|json| json["post_processor"] = byte_level()),
            file(|json| json["post_processor"] = template()),
            file(|json| {
                json["post_processor"] =
                    json!({"type": "Sequence", "processors": [byte_level(), template()]});
            }),
            file(|json| json["post_processor"] = Value::Null),
            file(|json| json["decoder"] = Value::Null),
            file(|json| json["truncation"] = json!({"max_length": 4})),
            plain.clone(),
        ] {
            let theirs = Tokenizer::from_bytes(&plain).unwrap();
            let ours = read(&json).unwrap();
            let ids = |tokenizer: &Tokenizer| tokenizer.encode("ab<od>ba", false).unwrap().get_ids().to_vec();
            assert_eq!(ids(&ours), ids(&theirs), "{}", String::from_utf8_lossy(&json));
        }
    }

    #[test]
    fn other_components_are_refused_by_name() {
        let sequence = |of: &str, part: Value| json!({"type": "Sequence", of: [part]});
        let cases = [
            // These panicked, or asked for gigabytes.
            (
                "normalizer",
                json!({"type": "Precompiled", "precompiled_charsmap": "AAAA"}),
                "Precompiled",
            ),
            (
                "normalizer",
                json!({"type": "Precompiled", "precompiled_charsmap": "/////w=="}),
                "Precompiled",
            ),
            (
                "normalizer",
                json!({"type": "Replace", "pattern": {"String": ""}, "content": "x"}),
                "Replace",
            ),
            (
                "normalizer",
                sequence("normalizers", json!({"type": "NFC"})),
                "Sequence",
            ),
            ("normalizer", json!({"lowercase": true}), "without a type"),
            (
                "pre_tokenizer",
                json!({"type": "Split", "pattern": {"Regex": "(a+)+$"}}),
                "Split",
            ),
            ("pre_tokenizer", Value::Null, "no pre_tokenizer"),
            (
                "post_processor",
                sequence("processors", json!({"type": "BertProcessing"})),
                "BertProcessing",
            ),
            (
                "post_processor",
                sequence("processors", sequence("processors", roberta())),
                "Sequence",
            ),
            (
                "decoder",
                json!({"type": "Replace", "pattern": {"String": ""}, "content": "x"}),
                "Replace",
            ),
            (
                "model",
                json!({"type": "Unigram", "vocab": [["a", 0.0]]}),
                "Unigram",
            ),
            ("version", json!("2.0"), "2.0"),
        ];
        for (key, value, part) in cases {
            let error = read(&file(|json| json[key] = value)).unwrap_err().to_string();
            assert!(error.contains(key) && error.contains(part), "{key}: {error}");
        }
    }

    #[test]
    fn invalid_models_are_errors() {
        let many: Vec<Value> = (0..40_000)
            .map(|n| added(&format!("<another token {n}>")))
            .collect();
        for (pointer, value, part) in [
            (
                "/model/continuing_subword_prefix",
                json!("中"),
                "continuing_subword_prefix",
            ),
            ("/model/end_of_word_suffix", json!("</w>"), "end_of_word_suffix"),
            ("/model/byte_fallback", json!(true), "byte_fallback"),
            ("/model/dropout", json!(0.1), "dropout"),
            ("/model/vocab/a", json!(u32::MAX), "4294967295"),
            ("/model/vocab/a", json!(-1), "-1"),
            ("/model/vocab/a", json!(4), "another token"),
            ("/model/merges/0/0", json!("<pad>"), "<pad>b"),
            ("/model/merges/0/0", json!("c"), "out of vocabulary"),
            ("/model/merges", json!(["ab"]), "two parts"),
            ("/model/merges", json!([[]]), "Merges"),
            ("/added_tokens", json!([{}]), "missing field"),
            ("/added_tokens", json!(many), "added tokens"),
        ] {
            let json = file(|json| *json.pointer_mut(pointer).unwrap() = value);
            let error = read(&json).unwrap_err().to_string();
            assert!(
                error.contains("tokenizer.json") && error.contains(part),
                "{pointer}: {error}"
            );
        }
    }

    #[test]
    fn truncated_files_are_errors() {
        let json = file(|_| ());
        for end in 0..json.len() {
            assert!(read(&json[..end]).is_err(), "{end}");
        }
        let deep = format!("{{\"model\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(read(deep.as_bytes()).is_err());
        let large = [&json[..], " ".repeat(MAX_BYTES).as_bytes()].concat();
        assert!(read(&large).unwrap_err().to_string().contains("bytes"));
    }
}
