//! The configuration and tokenizer files of a deployment.

use std::path::PathBuf;

use florence2_export::{Checkpoint, Error, ExportOptions, export_config_files};
use safetensors::Dtype;
use serde_json::{Value, json};
use tokenizers::Tokenizer;

use crate::common::{IMAGE_SIZE, native};

fn checkpoint() -> Checkpoint {
    let model = native();
    Checkpoint::from_bytes(model.config_bytes(), model.safetensors(Dtype::F32)).unwrap()
}

fn file(checkpoint: &Checkpoint, name: &str) -> Option<Vec<u8>> {
    let options = ExportOptions::default().with_image_size(IMAGE_SIZE);
    let files = export_config_files(checkpoint, &options).unwrap();
    files
        .into_iter()
        .find(|(file, _)| file == name)
        .map(|(_, bytes)| bytes)
}

fn json_file(checkpoint: &Checkpoint, name: &str) -> Value {
    serde_json::from_slice(&file(checkpoint, name).unwrap()).unwrap()
}

#[test]
fn the_preprocessor_is_completed() {
    let settings = json_file(&checkpoint(), "preprocessor_config.json");
    assert_eq!(settings["size"], json!({ "height": 48, "width": 48 }));
    assert_eq!(settings["image_seq_length"], 37);
    assert_eq!(settings["processor_class"], "Florence2Processor");
    assert_eq!(
        settings["tasks_answer_post_processing_type"]["<OD>"],
        "description_with_bboxes"
    );
    assert_eq!(
        settings["task_prompts_without_inputs"]["<CAPTION>"],
        "What does the image describe?"
    );
    assert_eq!(
        settings["task_prompts_with_input"]["<REGION_TO_OCR>"],
        "What text is in the region {input}?"
    );
    let tables = ["task_prompts_without_inputs", "task_prompts_with_input"];
    let lens = tables.map(|table| settings[table].as_object().unwrap().len());
    assert_eq!(lens, [8, 7]);
}

#[test]
fn settings_of_the_checkpoint_are_kept() {
    let original = json!({
        "size": { "height": 32, "width": 32 },
        "image_mean": [0.5, 0.5, 0.5],
        "task_prompts_without_inputs": { "<MINE>": "mine" },
    });
    let checkpoint = checkpoint().with_file("preprocessor_config.json", original.to_string());
    let files = export_config_files(&checkpoint, &ExportOptions::default()).unwrap();
    let (_, bytes) = files
        .iter()
        .find(|(name, _)| name == "preprocessor_config.json")
        .unwrap();
    let settings: Value = serde_json::from_slice(bytes).unwrap();
    for key in ["size", "image_mean", "task_prompts_without_inputs"] {
        assert_eq!(settings[key], original[key]);
    }
    // The size is that of the exported graph.
    assert_eq!(
        json_file(&checkpoint, "preprocessor_config.json")["size"]["width"],
        48
    );
}

#[test]
fn generation_settings_come_from_three_sources() {
    // Without any settings, those of the published models are used.
    let settings = json_file(&checkpoint(), "generation_config.json");
    assert_eq!(settings["num_beams"], 3);
    assert_eq!(settings["forced_bos_token_id"], 0);

    // A checkpoint with settings is completed from text_config and by token ids only.
    let mut model = native();
    model.config["text_config"]["no_repeat_ngram_size"] = json!(4);
    model.config["text_config"]["num_beams"] = json!(9);
    model.config["text_config"]["early_stopping"] = Value::Null;
    let checkpoint = Checkpoint::from_bytes(model.config_bytes(), model.safetensors(Dtype::F32)).unwrap();
    let original = json!({ "num_beams": 5, "eos_token_id": 7, "max_length": 99 });
    let checkpoint = checkpoint.with_file("generation_config.json", original.to_string());
    let expected = json!({
        "num_beams": 5, "eos_token_id": 7, "max_length": 99, "no_repeat_ngram_size": 4,
        "bos_token_id": 0, "pad_token_id": 1, "decoder_start_token_id": 2,
    });
    assert_eq!(json_file(&checkpoint, "generation_config.json"), expected);
}

/// The published large model's files disagree; its own code reads `text_config`.
#[test]
fn settings_of_microsofts_repositories_are_those_of_text_config() {
    let mut model = native();
    let vision = model.config["vision_config"].as_object_mut().unwrap();
    let dims = vision.remove("embed_dim").unwrap();
    vision.insert("dim_embed".into(), dims);
    model.config["text_config"]["early_stopping"] = json!(true);
    let checkpoint = Checkpoint::from_bytes(model.config_bytes(), model.safetensors(Dtype::F32)).unwrap();
    let large = json!({ "num_beams": 3, "early_stopping": false });
    let checkpoint = checkpoint.with_file("generation_config.json", large.to_string());
    let settings = json_file(&checkpoint, "generation_config.json");
    assert_eq!(settings["early_stopping"], true);
    assert_eq!(settings["num_beams"], 3);
}

#[test]
fn config_and_other_files_are_copied_verbatim() {
    let checkpoint = checkpoint().with_file("special_tokens_map.json", "{ \"x\":1}");
    assert_eq!(file(&checkpoint, "config.json").unwrap(), native().config_bytes());
    assert_eq!(
        file(&checkpoint, "special_tokens_map.json").unwrap(),
        b"{ \"x\":1}"
    );
    assert_eq!(file(&checkpoint, "tokenizer.json"), None);
}

const VOCABULARY: &str =
    r#"{"<s>":0,"<pad>":1,"</s>":2,"<unk>":3,"a":4,"b":5,"Ġ":6,"ab":7,"Ġab":8,"<mask>":9}"#;
const MERGES: &str = "#version: 0.2\na b\nĠ ab\n";

#[test]
fn a_tokenizer_is_built_from_vocabulary_and_merges() {
    let checkpoint = checkpoint()
        .with_file("vocab.json", VOCABULARY)
        .with_file("merges.txt", MERGES);
    let bytes = file(&checkpoint, "tokenizer.json").unwrap();
    let tokenizer = Tokenizer::from_bytes(&bytes).unwrap();
    let ids = |text: &str| tokenizer.encode(text, true).unwrap().get_ids().to_vec();
    assert_eq!(ids("ab ab"), [0, 7, 8, 2]);
    // Task and location tokens follow the vocabulary in the order of Microsoft's processor.
    assert_eq!(ids("<od>a<loc_0><loc_999><and>"), [0, 10, 4, 14, 1013, 1033, 2]);
    assert_eq!(tokenizer.get_vocab_size(true), 10 + 1024);
    assert_eq!(tokenizer.decode(&[7, 8], false).unwrap(), "ab ab");
    assert_eq!(
        json_file(&checkpoint, "tokenizer_config.json")["tokenizer_class"],
        "BartTokenizer"
    );

    // A complete tokenizer is copied byte for byte.
    let again = checkpoint.with_file("tokenizer.json", bytes.clone());
    assert_eq!(file(&again, "tokenizer.json").unwrap(), bytes);
}

#[test]
fn added_tokens_keep_their_ids() {
    let checkpoint = checkpoint()
        .with_file("vocab.json", VOCABULARY)
        .with_file("merges.txt", MERGES)
        .with_file("added_tokens.json", r#"{"<mine>": 11, "<first>": 10}"#);
    let tokenizer = Tokenizer::from_bytes(file(&checkpoint, "tokenizer.json").unwrap()).unwrap();
    let ids = ["<first>", "<mine>", "<od>"].map(|token| tokenizer.token_to_id(token));
    assert_eq!(ids, [Some(10), Some(11), Some(12)]);
}

#[test]
fn damaged_tokenizer_files_are_errors() {
    let bad = [
        ("tokenizer.json", "{"),
        ("merges.txt", "#version: 0.2\nab\n"),
        ("vocab.json", "[1]"),
        ("vocab.json", r#"{"a": 0}"#),
        ("added_tokens.json", "3"),
    ];
    for (name, text) in bad {
        let checkpoint = checkpoint()
            .with_file("vocab.json", VOCABULARY)
            .with_file("merges.txt", MERGES)
            .with_file(name, text);
        let result = export_config_files(&checkpoint, &ExportOptions::default().with_image_size(IMAGE_SIZE));
        assert!(
            matches!(result, Err(Error::Tokenizer { .. } | Error::Json { .. })),
            "{name}: {text}"
        );
    }
}

/// Returns a file of the published tokenizer if it is beside the repository.
fn real_tokenizer(name: &str) -> Option<Vec<u8>> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let folders =
        ["shared", "../shared", "../../shared"].map(|shared| root.join(shared).join("data/tokenizer"));
    folders
        .iter()
        .find_map(|folder| std::fs::read(folder.join(name)).ok())
}

#[test]
fn the_published_tokenizer_keeps_its_ids() {
    let names = [
        "tokenizer.json",
        "tokenizer.microsoft.json",
        "vocab.json",
        "merges.txt",
    ];
    let [Some(complete), Some(microsoft), Some(vocabulary), Some(merges)] = names.map(real_tokenizer) else {
        eprintln!("skipped: shared/data/tokenizer is not beside the repository");
        return;
    };
    assert_eq!(
        file(
            &checkpoint().with_file("tokenizer.json", complete.clone()),
            "tokenizer.json"
        )
        .unwrap(),
        complete
    );
    let expected = Tokenizer::from_bytes(&complete).unwrap();
    let from_microsoft = checkpoint().with_file("tokenizer.json", microsoft);
    let from_parts = checkpoint()
        .with_file("vocab.json", vocabulary)
        .with_file("merges.txt", merges);
    for checkpoint in [from_microsoft, from_parts] {
        let tokenizer = Tokenizer::from_bytes(file(&checkpoint, "tokenizer.json").unwrap()).unwrap();
        assert_eq!(tokenizer.get_vocab(true), expected.get_vocab(true));
        let text = "What does the region <loc_5><loc_17><loc_300><loc_999> describe?<mask> naïve café";
        let encode = |tokenizer: &Tokenizer| tokenizer.encode(text, true).unwrap().get_ids().to_vec();
        assert_eq!(encode(&tokenizer), encode(&expected));
        let json = |tokenizer: &Tokenizer| tokenizer.to_string(false).unwrap();
        assert_eq!(json(&tokenizer), json(&expected));
    }
}
