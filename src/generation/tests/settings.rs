//! Tests of generation settings.

use serde_json::{Value, json};

use super::*;
use crate::error::Error;
use crate::generation::{EarlyStopping, GenerationOptions};

#[test]
fn published_checkpoints_are_read() {
    // generation_config.json of base, and of large, whose other settings are in config.json.
    let base = json!({
        "_from_model_config": true, "bos_token_id": 0, "decoder_start_token_id": 2, "early_stopping": true,
        "eos_token_id": 2, "forced_bos_token_id": 0, "forced_eos_token_id": 2, "no_repeat_ngram_size": 3,
        "num_beams": 3, "pad_token_id": 1, "transformers_version": "4.38.2"
    });
    let text_config = json!({
        "early_stopping": true, "forced_bos_token_id": 0, "forced_eos_token_id": 2, "eos_token_id": 2,
        "no_repeat_ngram_size": 3, "max_position_embeddings": 4096, "max_length": 20, "decoder_start_token_id": 2
    });
    let from_generation = GenerationConfig::from_json(Some(&base), None).unwrap();
    let config = json!({"text_config": text_config, "vocab_size": 51289});
    let from_config = GenerationConfig::from_json(Some(&json!({"num_beams": 3})), Some(&config)).unwrap();
    for (settings, positions) in [(&from_generation, 1024), (&from_config, 4096)] {
        assert_eq!(settings.num_beams, 3);
        assert_eq!(settings.early_stopping, EarlyStopping::WhenFull);
        assert_eq!(settings.no_repeat_ngram_size, 3);
        assert_eq!(settings.forced_bos_token_id, Some(0));
        assert_eq!(settings.forced_eos_token_ids, [2]);
        assert_eq!(settings.eos_token_ids, [2]);
        assert_eq!(settings.decoder_start_token_id, 2);
        assert_eq!(settings.max_new_tokens, positions);
    }
}

/// Compares with the settings in force in transformers if `generation_config.json` and `config.json` disagree: see
/// `tests/reference/make_generation_configs.py`.
#[test]
fn settings_in_force_are_those_of_transformers() {
    let fixture = include_str!("../../../tests/fixtures/generation/configs.json");
    let fixture: Value = serde_json::from_str(fixture).unwrap();
    for case in fixture["cases"].as_array().unwrap() {
        let generation = Some(&case["generation_config"]).filter(|generation| !generation.is_null());
        let settings = GenerationConfig::from_json(generation, Some(&case["config"])).unwrap();
        let in_force = match &case["in_force"] {
            // transformers refuses to generate: the settings present, completed.
            Value::Null => &json!({
                "decoder_start_token_id": 2, "early_stopping": false, "eos_token_id": 2, "forced_bos_token_id": 0,
                "forced_eos_token_id": 2, "length_penalty": 1.0, "no_repeat_ngram_size": 3, "num_beams": 3
            }),
            in_force => in_force,
        };
        let early_stopping = match settings.early_stopping {
            EarlyStopping::Heuristic => json!(false),
            EarlyStopping::WhenFull => json!(true),
            EarlyStopping::Never => json!("never"),
        };
        let found = json!({
            "decoder_start_token_id": settings.decoder_start_token_id,
            "early_stopping": early_stopping,
            "eos_token_id": settings.eos_token_ids.first(),
            "forced_bos_token_id": settings.forced_bos_token_id,
            "forced_eos_token_id": settings.forced_eos_token_ids.first(),
            "length_penalty": settings.length_penalty,
            "no_repeat_ngram_size": settings.no_repeat_ngram_size,
            "num_beams": settings.num_beams,
        });
        assert_eq!(&found, in_force, "{}", case["name"]);
    }
}

#[test]
fn end_tokens_are_the_union_of_all_sources() {
    let config = json!({"eos_token_id": -1, "text_config": {"eos_token_id": [2, 1]}});
    let settings = GenerationConfig::from_json(Some(&json!({"eos_token_id": 1})), Some(&config)).unwrap();
    assert_eq!(settings.eos_token_ids, [1, 2]);
    assert_eq!(
        GenerationConfig::from_json(Some(&json!({})), None).unwrap(),
        GenerationConfig::default()
    );
}

#[test]
fn checkpoints_without_settings_have_the_published_ones() {
    let unset = GenerationConfig::from_json(None, None).unwrap();
    assert_eq!((unset.num_beams, unset.no_repeat_ngram_size), (3, 3));
    assert_eq!(unset.early_stopping, EarlyStopping::WhenFull);
    assert_eq!(unset.forced_bos_token_id, Some(0));
    assert_eq!(unset.forced_eos_token_ids, [2]);
    // `config.json` takes precedence over them.
    let config = json!({"text_config": {"num_beams": 1, "forced_bos_token_id": 7}});
    let settings = GenerationConfig::from_json(None, Some(&config)).unwrap();
    assert_eq!((settings.num_beams, settings.forced_bos_token_id), (1, Some(7)));
    assert_eq!(settings.no_repeat_ngram_size, 3);
}

#[test]
fn invalid_sampling_settings_are_reset_if_unused() {
    let settings = config(json!({"temperature": 0.0, "top_p": 0.0, "num_beams": 3}));
    assert_eq!(
        (settings.temperature, settings.top_p, settings.num_beams),
        (1.0, 1.0, 3)
    );
    settings.with_options(&GenerationOptions::default()).unwrap();
}

#[test]
fn lengths_exclude_the_start_token() {
    assert_eq!(
        config(json!({"max_length": 20, "min_length": 5})).max_new_tokens,
        19
    );
    assert_eq!(
        config(json!({"max_length": 20, "min_length": 5})).min_new_tokens,
        4
    );
    assert_eq!(
        config(json!({"max_length": 20, "max_new_tokens": 7})).max_new_tokens,
        7
    );
    assert_eq!(
        config(json!({"min_length": 5, "min_new_tokens": 2})).min_new_tokens,
        2
    );
    assert_eq!(config(json!({"max_new_tokens": 5000})).max_new_tokens, 1024);
    assert_eq!(
        config(json!({"early_stopping": "never"})).early_stopping,
        EarlyStopping::Never
    );
}

#[test]
fn invalid_settings_of_a_checkpoint_are_named() {
    let malformed = [
        (json!({"num_beams": "three"}), "num_beams"),
        (json!({"num_beams": -1}), "num_beams"),
        (json!({"eos_token_id": "</s>"}), "eos_token_id"),
        (json!({"early_stopping": "soon"}), "early_stopping"),
        (json!({"bad_words_ids": [1]}), "bad_words_ids[0]"),
    ];
    for (settings, expected) in malformed {
        let error = GenerationConfig::from_json(Some(&settings), None).unwrap_err();
        assert!(
            matches!(&error, Error::InvalidSetting { name, .. } if name == expected),
            "{error}"
        );
    }
    let out_of_range = [
        (json!({"max_length": 1}), "max_new_tokens"),
        (json!({"temperature": 0.0, "do_sample": true}), "temperature"),
    ];
    for (settings, expected) in out_of_range {
        let error = GenerationConfig::from_json(Some(&settings), None).unwrap_err();
        assert!(
            matches!(error, Error::InvalidOption { name, .. } if name == expected),
            "{error}"
        );
    }
}

#[test]
fn options_override_settings_and_are_validated() {
    let config = config(json!({"num_beams": 3, "no_repeat_ngram_size": 3}));
    let unchanged = config.with_options(&GenerationOptions::default()).unwrap();
    assert_eq!(unchanged, config);
    let options = GenerationOptions::default()
        .with_num_beams(1)
        .with_max_new_tokens(9999)
        .with_min_p(0.5);
    let changed = config.with_options(&options).unwrap();
    assert_eq!(
        (changed.num_beams, changed.max_new_tokens, changed.min_p),
        (1, 1024, Some(0.5))
    );
    assert_eq!(changed.no_repeat_ngram_size, 3);

    let none = GenerationOptions::default;
    let rejected = [
        (none().with_num_beams(0), "num_beams"),
        (none().with_num_beams(usize::MAX), "num_beams"),
        (none().with_num_return_sequences(0), "num_return_sequences"),
        (none().with_num_return_sequences(4), "num_return_sequences"),
        (
            none().with_num_beams(1).with_num_return_sequences(2),
            "num_return_sequences",
        ),
        (none().with_max_new_tokens(0), "max_new_tokens"),
        (none().with_length_penalty(f64::NAN), "length_penalty"),
        (none().with_length_penalty(f64::INFINITY), "length_penalty"),
        (none().with_repetition_penalty(0.0), "repetition_penalty"),
        (none().with_repetition_penalty(f64::NAN), "repetition_penalty"),
        (none().with_repetition_penalty(1e300), "repetition_penalty"),
        (none().with_temperature(0.0), "temperature"),
        (none().with_temperature(1e-45), "temperature"),
        (none().with_temperature(1e-300), "temperature"),
        (none().with_temperature(1e300), "temperature"),
        (none().with_temperature(-1.0), "temperature"),
        (none().with_top_p(0.0), "top_p"),
        (none().with_top_p(1.01), "top_p"),
        (none().with_min_p(2.0), "min_p"),
        (none().with_typical_p(f64::NAN), "typical_p"),
    ];
    for (options, expected) in rejected {
        let error = config.with_options(&options).unwrap_err();
        assert!(
            matches!(error, Error::InvalidOption { name, .. } if name == expected),
            "{error}"
        );
    }
}

#[test]
fn forcing_a_suppressed_token_is_rejected() {
    for name in ["forced_bos_token_id", "forced_eos_token_id"] {
        let settings = json!({name: 7, "suppress_tokens": [3, 7]});
        let error = GenerationConfig::from_json(Some(&settings), None).unwrap_err();
        assert!(
            matches!(error, Error::InvalidOption { name: rejected, .. } if rejected == name),
            "{error}"
        );
    }
}
