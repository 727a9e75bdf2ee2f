//! Properties of fine-tunes: wrong token ids, and their own tasks.

use florence2::{Parsed, Task};
use serde_json::json;

use super::{Deployment, FP32, MERGED, answers, greedy, scene};

/// Many fine-tunes were saved with the ids of another tokenizer.
#[test]
fn wrong_special_tokens_are_replaced() {
    let whole = Deployment::new(&MERGED, FP32);
    let reference = answers(&whole.load());
    let wrong = json!({"bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0});
    let put = |config: &mut serde_json::Value| {
        for (key, value) in wrong.as_object().unwrap() {
            config[key] = value.clone();
        }
    };
    let generation = whole.clone().edited_json("generation_config.json", put);
    assert_eq!(answers(&generation.load()), reference);
    let everywhere = generation.clone().edited_json("config.json", |config| {
        put(config);
        put(&mut config["text_config"]);
    });
    assert_eq!(answers(&everywhere.load()), reference);
    // No file has the decoder's start token either.
    let without_start =
        ["config.json", "generation_config.json"]
            .into_iter()
            .fold(everywhere, |deployment, file| {
                deployment.edited_json(file, |config| {
                    let forget = |config: &mut serde_json::Value| {
                        config["bos_token_id"] = 0.into();
                        if let Some(config) = config.as_object_mut() {
                            config.remove("decoder_start_token_id");
                        }
                    };
                    forget(config);
                    if config.get("text_config").is_some() {
                        forget(&mut config["text_config"]);
                    }
                })
            });
    assert_eq!(answers(&without_start.load()), reference);
}

/// Ids outside the vocabulary are replaced by the tokenizer's.
#[test]
fn tokens_outside_the_vocabulary_are_replaced() {
    let whole = Deployment::new(&MERGED, FP32);
    let reference = answers(&whole.load());
    let wrong = whole.edited_json("generation_config.json", |config| {
        config["decoder_start_token_id"] = 50_257.into();
        config["forced_bos_token_id"] = 999_999.into();
        config["forced_eos_token_id"] = 50_256.into();
        config["eos_token_id"] = json!([50_256, 50_257]);
    });
    let model = wrong.load();
    assert_eq!(model.generation_config().eos_token_ids, [2]);
    assert_eq!(answers(&model), reference);
}

/// A fine-tune's tags get its own prompts and parsers.
#[test]
fn tasks_of_a_fine_tunes_own() {
    let tables = json!({
        "task_prompts_without_inputs": {"<SHAPES>": "Locate the objects with category name in the image."},
        "task_prompts_with_input": {"<WHERE>": "Locate {input} in the image."},
        "tasks_answer_post_processing_type": {
            "<SHAPES>": "description_with_bboxes", "<WHERE>": "description_with_bboxes_or_polygons"
        }
    });
    let whole = Deployment::new(&MERGED, FP32);
    for file in ["preprocessor_config.json", "processor_config.json"] {
        let deployment = whole.clone().edited_json(file, |config| {
            for (key, value) in tables.as_object().unwrap() {
                config[key] = value.clone();
            }
        });
        let model = deployment.load();
        let features = model.encode_image(&scene("ring.png")).unwrap();
        let answer = |task: Task| model.run_with(&features, &task, &greedy()).unwrap();
        let (own, known) = (
            answer(Task::Prompt("<SHAPES>".into())),
            answer(Task::ObjectDetection),
        );
        assert_eq!(own.token_ids, known.token_ids);
        assert_eq!(own.parsed, known.parsed);
        assert!(matches!(&own.parsed, Parsed::Detections(detections) if detections.len() == 2));
        let own = answer(Task::Prompt("<WHERE> an orange ring".into()));
        let known = answer(Task::OpenVocabularyDetection("an orange ring".into()));
        assert_eq!((own.token_ids, own.parsed), (known.token_ids, known.parsed));
        // A tag without a table entry is passed to the model unchanged, and the answer is text.
        let unknown = answer(Task::Prompt("<DocVQA>How many?".into()));
        assert!(matches!(unknown.parsed, Parsed::Text(_)));
    }
}
