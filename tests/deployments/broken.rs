//! Deployments with known faults, which load, and with deliberate ones, whose errors name the fault and the remedy.

use florence2::Error;
use florence2_export::{Dtype, GraphFile};

use super::common::{self, with_causes};
use super::onnx::{with_element_type, with_free_size, with_renamed, without_output};
use super::{Deployment, FP32, Form, MERGED, SPLIT, answers, exported_from, form, path};

fn is_cache(name: &str) -> bool {
    name.starts_with("past_key_values") || name.starts_with("present")
}

fn edited(graph: GraphFile, form: Form, edit: impl FnOnce(&[u8]) -> Vec<u8>) -> Deployment {
    Deployment::new(&MERGED, form).edited(&path(graph, form), edit)
}

/// `outer_scope.onnx` has the fault for which ONNX Runtime rejects published `decoder_model_merged_fp16.onnx` and `_q4f16.onnx`: a
/// branch whose output is a value from outside.
#[test]
fn the_split_pair_replaces_a_rejected_merged_decoder() {
    let refused = std::fs::read(common::fixture("outer_scope.onnx")).unwrap();
    let merged = path(GraphFile::DecoderModelMerged, FP32);
    let alone = Deployment::new(&MERGED, FP32).edited(&merged, |_| refused.clone());
    let error = alone.error();
    assert!(matches!(error, Error::Ort { .. }));
    let text = with_causes(&error);
    for part in [
        "outer scope value being returned directly",
        "decoder_model.onnx and decoder_with_past_model.onnx",
    ] {
        assert!(text.contains(part), "{text}");
    }
    let merged_fp16 = path(GraphFile::DecoderModelMerged, form(Dtype::Fp16));
    let fp16 = Deployment::new(&MERGED, form(Dtype::Fp16)).edited(&merged_fp16, |_| refused.clone());
    let text = with_causes(&fp16.error());
    assert!(
        text.contains("decoder_model_fp16.onnx and decoder_with_past_model_fp16.onnx"),
        "{text}"
    );

    let with_others = SPLIT[3..]
        .iter()
        .fold(alone, |deployment, &graph| deployment.with(graph, FP32));
    let split = Deployment::new(&SPLIT, FP32);
    assert_eq!(answers(&with_others.load()), answers(&split.load()));
}

/// If graphs leave heads and head size open, they are read from `config.json`.
#[test]
fn caches_of_open_sizes() {
    let open = |bytes: &[u8]| {
        let bytes = with_free_size(bytes, is_cache, 1, "heads");
        with_free_size(&bytes, is_cache, 3, "head_size")
    };
    let reference = answers(&Deployment::new(&MERGED, FP32).load());
    let deployment = edited(GraphFile::DecoderModelMerged, FP32, open);
    assert_eq!(answers(&deployment.load()), reference);
    // Neither graph nor configuration.
    let unknown = deployment.edited_json("config.json", |config| {
        let text_config = config["text_config"].as_object_mut().unwrap();
        text_config.remove("decoder_attention_heads");
    });
    let error = unknown.error();
    assert!(matches!(&error, Error::InvalidGraph { graph, .. } if graph == "decoder_model_merged"));
    assert!(error.to_string().contains("config.json"), "{error}");
}

#[test]
fn sizes_that_contradict_the_configuration() {
    let whole = Deployment::new(&MERGED, FP32);
    for (setting, factor, graph) in [
        ("d_model", 2, ""),
        ("decoder_attention_heads", 2, "decoder_model_merged"),
        ("decoder_layers", 3, "decoder_model_merged"),
    ] {
        let other = whole.clone().edited_json("config.json", |config| {
            let value = &mut config["text_config"][setting];
            *value = (value.as_u64().unwrap() * factor).into();
        });
        let error = other.error();
        assert!(
            matches!(&error, Error::InvalidGraph { graph: named, .. } if named.contains(graph)),
            "{error}"
        );
        let message = error.to_string();
        assert!(
            message.contains("config.json") && message.contains("Fetch or export"),
            "{message}"
        );
    }
}

#[test]
fn graphs_of_another_model() {
    let whole = Deployment::new(&MERGED, FP32);
    for graph in MERGED {
        let other = whole
            .clone()
            .edited(&path(graph, FP32), |_| exported_from("large-like", graph, FP32));
        let error = other.error();
        assert!(
            matches!(&error, Error::InvalidGraph { graph: named, .. } if named == graph.name()),
            "{error}"
        );
        let message = error.to_string();
        assert!(
            message.contains("different models") && message.contains("config.json"),
            "{message}"
        );
    }
}

#[test]
fn a_vocabulary_of_another_size() {
    let whole = Deployment::new(&MERGED, FP32);
    let fewer = whole.edited("tokenizer.json", |bytes| {
        // Every added token has an id far behind those that the decoder scores.
        let mut json: serde_json::Value = serde_json::from_slice(bytes).unwrap();
        let vocabulary = json["model"]["vocab"].as_object_mut().unwrap();
        let next = vocabulary.len() as u64;
        for id in next..next + 3000 {
            vocabulary.insert(format!("filler{id}"), id.into());
        }
        for token in json["added_tokens"].as_array_mut().unwrap() {
            let content = token["content"].as_str().unwrap();
            if content.starts_with("<loc_") {
                token["id"] = (token["id"].as_u64().unwrap() + 3000).into();
            }
        }
        json.to_string().into_bytes()
    });
    let error = fewer.error();
    assert!(matches!(error, Error::InvalidBundle { .. }), "{error}");
    let message = error.to_string();
    assert!(
        message.contains("<loc_999>") && message.contains("another model's"),
        "{message}"
    );
}

#[test]
fn missing_inputs_and_outputs() {
    let present = "present.1.decoder.value";
    let error = edited(GraphFile::DecoderModelMerged, FP32, |bytes| {
        without_output(bytes, present)
    })
    .error();
    assert!(error.to_string().contains(present), "{error}");
    let error = edited(GraphFile::DecoderModelMerged, FP32, |bytes| {
        with_renamed(bytes, "encoder_attention_mask", "another_attention_mask")
    })
    .error();
    assert!(
        error
            .to_string()
            .contains("it has no input \"encoder_attention_mask\""),
        "{error}"
    );
    // Of the last layer, all caches: then it has fewer layers than the configuration says.
    let error = edited(GraphFile::DecoderModelMerged, FP32, |bytes| {
        let last = |bytes: &[u8]| {
            let names = ["decoder.key", "decoder.value", "encoder.key", "encoder.value"];
            names.iter().fold(bytes.to_vec(), |bytes, name| {
                without_output(&bytes, &format!("present.1.{name}"))
            })
        };
        last(bytes)
    })
    .error();
    assert!(matches!(error, Error::InvalidGraph { .. }), "{error}");
    assert!(error.to_string().contains("layers"), "{error}");
}

#[test]
fn unsupported_types() {
    const DOUBLE: u64 = 11;
    // Graphs that convert their inputs accept any type there.
    let fp16 = form(Dtype::Fp16);
    for (graph, input, data_type) in [
        (GraphFile::VisionEncoder, "pixel_values", DOUBLE),
        (GraphFile::EncoderModel, "inputs_embeds", DOUBLE),
        (GraphFile::EncoderModel, "attention_mask", DOUBLE),
        (
            GraphFile::DecoderModelMerged,
            "past_key_values.0.decoder.key",
            DOUBLE,
        ),
    ] {
        let error = edited(graph, fp16, |bytes| with_element_type(bytes, input, data_type)).error();
        assert!(
            matches!(&error, Error::InvalidGraph { graph: named, .. } if named == graph.name()),
            "{error}"
        );
        let message = error.to_string();
        assert!(
            message.contains(input) && message.contains("another dtype"),
            "{message}"
        );
    }
}

#[test]
fn truncated_files_of_every_form() {
    for form in [form(Dtype::Int8), form(Dtype::Q4F16), form(Dtype::Bnb4)] {
        let graph = GraphFile::DecoderModelMerged;
        for part in [0, 1, 2] {
            let error = edited(graph, form, |bytes| bytes[..bytes.len() * part / 3].to_vec()).error();
            assert!(
                matches!(error, Error::Ort { .. } | Error::InvalidGraph { .. }),
                "{error}"
            );
            assert!(
                with_causes(&error).contains("decoder_model_merged"),
                "{}",
                with_causes(&error)
            );
        }
    }
}
