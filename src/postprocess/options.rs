//! Options of the parsers.

use std::collections::HashSet;

use florence2_layout::setters;
use serde_json::Value;

/// Phrases that phrase grounding omits: pronouns and others that name no object.
///
/// Microsoft's original processor has them built in (`_create_black_list_of_phrase_grounding`), and
/// transformers' `convert_florence2_original_pytorch_to_hf.py` writes the same list to
/// `post_processor_config.phrase_grounding.banned_grounding_tokens` of a checkpoint.
#[rustfmt::skip]
pub const BANNED_GROUNDING_TOKENS: [&str; 72] = [
    "it", "I", "me", "mine", "you", "your", "yours", "he", "him", "his", "she", "her", "hers", "they",
    "them", "their", "theirs", "one", "oneself", "we", "us", "our", "ours", "its", "myself", "yourself",
    "himself", "herself", "itself", "ourselves", "yourselves", "themselves", "this", "that", "these",
    "those", "who", "whom", "whose", "which", "what", "all", "another", "any", "anybody", "anyone",
    "anything", "each", "everybody", "everyone", "everything", "few", "many", "nobody", "none", "several",
    "some", "somebody", "someone", "something", "each other", "one another", "the image", "image", "images",
    "the", "a", "an", "a group", "other objects", "lots", "a set",
];

/// How answers are parsed.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ParseOptions {
    /// Whether to parse exactly as transformers does, without the [deviations](super#deviations). Coordinates are then
    /// integers, truncated towards zero.
    pub strict: bool,
    /// Phrases that phrase grounding omits, compared case-sensitively with the whole phrase. The default is
    /// [`BANNED_GROUNDING_TOKENS`]; a checkpoint may have its own in its processor's `post_processor_config`.
    pub banned_grounding_tokens: HashSet<String>,
    /// The minimum area of OCR regions as a fraction of the image's, 0 to 1; smaller ones are omitted. 0, the default, keeps
    /// all.
    ///
    /// transformers reads it from `AREA_THRESHOLD`, but its conversion script writes `area_threshold`, so it keeps every
    /// region too.
    pub ocr_area_threshold: f64,
}

impl Default for ParseOptions {
    fn default() -> Self {
        Self {
            strict: false,
            banned_grounding_tokens: BANNED_GROUNDING_TOKENS.map(str::to_owned).into(),
            ocr_area_threshold: 0.0,
        }
    }
}

setters! { ParseOptions {
    with_strict(strict: bool);
    with_banned_grounding_tokens(banned_grounding_tokens: impl IntoIterator<Item = impl Into<String>>)
        = banned_grounding_tokens.into_iter().map(Into::into).collect();
    with_ocr_area_threshold(ocr_area_threshold: f64);
}}

impl ParseOptions {
    /// Returns the options in a checkpoint's `processor_config.json` (its `post_processor_config`).
    pub fn from_config(processor_config: &Value) -> Self {
        let section = |name: &str| {
            processor_config
                .get("post_processor_config")
                .and_then(|config| config.get(name))
        };
        let banned = section("phrase_grounding").and_then(|section| section.get("banned_grounding_tokens"));
        let banned = banned
            .and_then(Value::as_array)
            .map(|tokens| tokens.iter().filter_map(Value::as_str));
        let threshold = section("ocr")
            .and_then(|section| section.get("AREA_THRESHOLD"))
            .and_then(Value::as_f64);
        let mut options = Self::default();
        if let Some(banned) = banned {
            options = options.with_banned_grounding_tokens(banned);
        }
        if let Some(threshold) = threshold {
            options = options.with_ocr_area_threshold(threshold);
        }
        options
    }
}
