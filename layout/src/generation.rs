//! How checkpoints search: where they keep their settings, and what the published ones have, for those that do not say.

use serde_json::Value;

/// Settings of transformers' `generate`, as `generation_config.json` of `Florence-2-base` has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublishedSearch {
    /// Beams.
    pub num_beams: usize,
    /// No n-gram of this size twice.
    pub no_repeat_ngram_size: usize,
    /// Whether beam search stops as soon as it has as many finished sequences as beams.
    pub early_stopping: bool,
    /// The first token generated: `<s>`.
    pub forced_bos_token_id: u32,
    /// The last token of a sequence that reaches the length limit: `</s>`.
    pub forced_eos_token_id: u32,
}

/// The published models' settings.
pub const PUBLISHED_SEARCH: PublishedSearch = PublishedSearch {
    num_beams: 3,
    no_repeat_ngram_size: 3,
    early_stopping: true,
    forced_bos_token_id: 0,
    forced_eos_token_id: 2,
};

/// Returns the JSON objects in which a checkpoint's settings of generation count, the one in force first. A setting that is
/// missing or null in one is looked for in the next.
///
/// The order is what transformers does with each kind of repository:
/// - In Microsoft's form (`config.json` has `vision_config.dim_embed`), the repository's own code makes BART of
///   `text_config`, and its `generate` is BART's: `text_config` counts, and `generation_config.json` is not looked at. The
///   published `Florence-2-large` has `early_stopping: false` there and `true` in `text_config`: `true` is in force. A
///   setting that `text_config` lacks is taken from `generation_config.json`, since transformers 5 saves it only there.
/// - In transformers' own form, `generation_config.json` counts, and `text_config` only where that file is missing.
/// - `generate` fails where `generation_config.json` names no token to start with. Such files are those of Microsoft's form
///   beside a `config.json` that was converted: what they lack is taken from `text_config`.
pub fn settings_in_force<'a>(generation: Option<&'a Value>, config: Option<&'a Value>) -> Vec<&'a Value> {
    let text = config.and_then(|config| config.get("text_config"));
    let sources = if config.is_some_and(is_microsofts) {
        [text, generation, config]
    } else if generation.is_some_and(names_start_token) {
        [generation, None, None]
    } else {
        [generation, text, config]
    };
    sources.into_iter().flatten().collect()
}

/// Whether a `config.json` is read by Microsoft's code. Those that were converted have transformers' settings too, which
/// count then.
fn is_microsofts(config: &Value) -> bool {
    config.get("vision_config").is_some_and(|vision| {
        let has = |name: &str| vision.get(name).is_some_and(|value| !value.is_null());
        has("dim_embed") && !has("embed_dim")
    })
}

fn names_start_token(generation: &Value) -> bool {
    generation
        .get("decoder_start_token_id")
        .is_some_and(|id| !id.is_null())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn settings_count_where_transformers_looks_for_them() {
        let text = json!({"num_beams": 3});
        let microsoft = json!({"vision_config": {"dim_embed": [8]}, "text_config": text});
        let native = json!({"vision_config": {"embed_dim": [8]}, "text_config": text});
        let converted = json!({"vision_config": {"dim_embed": [8], "embed_dim": [8]}, "text_config": text});
        let (short, whole) = (json!({"num_beams": 1}), json!({"decoder_start_token_id": 2}));
        let in_force = |generation, config| settings_in_force(Some(generation), Some(config));
        assert_eq!(in_force(&short, &microsoft), [&text, &short, &microsoft]);
        assert_eq!(in_force(&whole, &microsoft), [&text, &whole, &microsoft]);
        for config in [&native, &converted] {
            assert_eq!(in_force(&short, config), [&short, &text, config]);
            assert_eq!(in_force(&whole, config), [&whole]);
            assert_eq!(settings_in_force(None, Some(config)), [&text, config]);
        }
        assert_eq!(settings_in_force(Some(&short), None), [&short]);
    }
}
