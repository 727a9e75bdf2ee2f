//! Settings of the parsers.

use std::collections::HashSet;

use serde_json::Value;

/// Phrases that phrase grounding leaves out: pronouns and the like, which name nothing that has a place.
///
/// Microsoft's original processor has them built in (`_create_black_list_of_phrase_grounding`), and
/// transformers' `convert_florence2_original_pytorch_to_hf.py` writes the same ones to
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

/// How answers are read.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ParseOptions {
    /// Do exactly as transformers does, instead of with the [deviations](super#deviations). Coordinates are
    /// then whole numbers, cut off towards zero.
    pub strict: bool,
    /// Phrases that phrase grounding leaves out; compared with the whole phrase, case included. By default
    /// [`BANNED_GROUNDING_TOKENS`]; a checkpoint's own list stands in its processor's `post_processor_config`.
    pub banned_grounding_tokens: HashSet<String>,
    /// OCR regions that cover less than this part of the image are left out, 0 to 1; 0, the default, keeps all.
    ///
    /// Native reads it from `AREA_THRESHOLD`, which its own conversion script spells `area_threshold`, so that
    /// there, too, every region is kept.
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

impl ParseOptions {
    /// The options of a checkpoint's `processor_config.json`: its `post_processor_config`, where it has one.
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

    /// The defaults with [`strict`](Self::strict) set.
    pub fn with_strict(mut self, strict: bool) -> Self {
        self.strict = strict;
        self
    }

    /// Replaces [`banned_grounding_tokens`](Self::banned_grounding_tokens).
    pub fn with_banned_grounding_tokens(
        mut self,
        tokens: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        self.banned_grounding_tokens = tokens.into_iter().map(Into::into).collect();
        self
    }

    /// Replaces [`ocr_area_threshold`](Self::ocr_area_threshold).
    pub fn with_ocr_area_threshold(mut self, threshold: f64) -> Self {
        self.ocr_area_threshold = threshold;
        self
    }
}
