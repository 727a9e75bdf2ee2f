//! Published checkpoints against the answers in transformers' own tests
//! (`tests/models/florence2/test_modeling_florence2.py`). The tests need the network and gigabytes:
//!
//! ```sh
//! cargo test --release --test model -- --ignored published
//! ```
#![cfg(feature = "hub")]

use florence2::generation::GenerationOptions;
use florence2::{Florence2, LoadOptions, Output, Parsed, RunOptions, Task, load_image};
use hf_hub::api::sync::ApiBuilder;
use image::RgbImage;

/// A checkpoint in safetensors with transformers' names, which is exported first.
const CHECKPOINT: &str = "florence-community/Florence-2-base";
/// The same weights as graphs that others exported.
const GRAPHS: &str = "onnx-community/Florence-2-base";

/// Returns an image of transformers' documentation.
fn image(name: &str) -> RgbImage {
    let api = ApiBuilder::from_env().with_progress(false).build().unwrap();
    let images = api.dataset("huggingface/documentation-images".to_owned());
    let path = images.get(&format!("transformers/tasks/{name}")).unwrap();
    load_image(path).unwrap()
}

fn model(id: &str) -> Florence2 {
    crate::common::runtime();
    Florence2::from_pretrained(id, LoadOptions::default()).unwrap()
}

fn ask(model: &Florence2, image: &RgbImage, task: &Task) -> Output {
    let features = model.encode_image(image).unwrap();
    let options =
        RunOptions::default().with_generation(GenerationOptions::default().with_max_new_tokens(100));
    model.run_with(&features, task, &options).unwrap()
}

#[test]
#[ignore = "needs the network and gigabytes"]
fn a_checkpoint_describes_and_reads_as_published() {
    let model = model(CHECKPOINT);
    let street = image("australia.jpg");
    let caption = ask(&model, &street, &Task::DetailedCaption);
    assert_eq!(
        caption.raw_text,
        "<s>The image shows a stop sign sitting on the side of a street in Chinatown, New York City. The street is \
         lined with buildings, trees, and statues, and there are people walking on the footpath. The sky is visible in \
         the background.</s>"
    );
    let wheels = ask(
        &model,
        &image("car.jpg"),
        &Task::OpenVocabularyDetection("wheels".into()),
    );
    assert_eq!(
        wheels.raw_text,
        "<s>wheels<loc_144><loc_570><loc_870><loc_778>wheels<loc_711><loc_573><loc_866><loc_774>\
         wheels<loc_148><loc_579><loc_304><loc_774></s>"
    );
}

#[test]
#[ignore = "needs the network and gigabytes"]
fn cars_are_found_where_they_were_published() {
    let car = image("car.jpg");
    let labels = ["car", "door handle", "wheel", "wheel"];
    let boxes = [
        [34.0, 160.0, 597.0, 371.0],
        [272.0, 241.0, 303.0, 247.0],
        [454.0, 276.0, 553.0, 370.0],
        [96.0, 280.0, 198.0, 371.0],
    ];
    for id in [CHECKPOINT, GRAPHS] {
        let found = ask(&model(id), &car, &Task::ObjectDetection);
        let Parsed::Detections(found) = &found.parsed else {
            panic!("{id}: {found:?}");
        };
        assert_eq!(found.len(), boxes.len(), "{id}: {found:?}");
        for ((found, label), expected) in found.iter().zip(labels).zip(boxes) {
            assert_eq!(found.label, label, "{id}");
            let corners = [found.bbox.x1, found.bbox.y1, found.bbox.x2, found.bbox.y2];
            for (corner, expected) in corners.into_iter().zip(expected) {
                // Published without their fractions; graphs of others may round to the next location.
                assert!((corner - expected).abs() <= 2.0, "{id}: {found:?}");
            }
        }
    }
}
