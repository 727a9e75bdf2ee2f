//! `preprocessor_config.json`: how pixels are prepared, and the task tables that transformers.js reads there.

use florence2_layout::files::{IMAGE_PROCESSOR, PREPROCESSOR_CONFIG, PROCESSOR_CONFIG};
use florence2_layout::tasks::{TASKS, TaskInput};
use serde_json::{Map, Value, json};

use super::{object, read, set_absent};
use crate::checkpoint::Checkpoint;
use crate::error::Result;
use crate::image_size::ImageSize;

/// ImageNet's channel means and standard deviations, by which Florence-2 normalises.
const IMAGE_MEAN: [f64; 3] = [0.485, 0.456, 0.406];
const IMAGE_STD: [f64; 3] = [0.229, 0.224, 0.225];
/// Pillow's number for bicubic.
const BICUBIC: u32 = 3;

/// The checkpoint's settings, with what is missing and with the size of the graph's images.
pub(super) fn complete(checkpoint: &Checkpoint, image: ImageSize) -> Result<Map<String, Value>> {
    let vision = &checkpoint.config().vision_config;
    let mut settings = settings(checkpoint)?;
    let size = json!({ "height": image.height, "width": image.width });
    let features = vision.feature_tokens(vision.grid(image)?);
    settings.insert("size".into(), size.clone());
    settings.insert("crop_size".into(), size);
    settings.insert("image_seq_length".into(), json!(features));
    let defaults = object([
        ("do_resize", json!(true)),
        ("do_center_crop", json!(false)),
        ("do_rescale", json!(true)),
        ("do_normalize", json!(true)),
        ("resample", json!(BICUBIC)),
        ("rescale_factor", json!(1.0 / 255.0)),
        ("image_mean", json!(IMAGE_MEAN)),
        ("image_std", json!(IMAGE_STD)),
        ("image_processor_type", json!("CLIPImageProcessor")),
        ("processor_class", json!("Florence2Processor")),
    ]);
    for (key, value) in defaults.into_iter().chain(task_tables()) {
        set_absent(&mut settings, &key, value);
    }
    Ok(settings)
}

/// The three tables of Microsoft's processor.
fn task_tables() -> Map<String, Value> {
    let table = |with_input: bool| -> Map<String, Value> {
        let rows = TASKS
            .iter()
            .filter(|task| (task.input != TaskInput::None) == with_input);
        rows.map(|task| (task.tag.to_owned(), json!(task.prompt)))
            .collect()
    };
    let kinds: Map<String, Value> = TASKS
        .iter()
        .map(|task| (task.tag.to_owned(), json!(task.output.name())))
        .collect();
    object([
        ("tasks_answer_post_processing_type", Value::Object(kinds)),
        ("task_prompts_without_inputs", Value::Object(table(false))),
        ("task_prompts_with_input", Value::Object(table(true))),
    ])
}

/// The image processor's settings, from either file that may hold them.
fn settings(checkpoint: &Checkpoint) -> Result<Map<String, Value>> {
    let settings = read(checkpoint, PREPROCESSOR_CONFIG)?;
    if !settings.is_empty() {
        return Ok(settings);
    }
    match read(checkpoint, PROCESSOR_CONFIG)?.remove(IMAGE_PROCESSOR) {
        Some(Value::Object(settings)) => Ok(settings),
        _ => Ok(settings),
    }
}

/// The size of images that the checkpoint's settings ask for; without any, that of the published models.
pub(crate) fn image_size(checkpoint: &Checkpoint) -> Result<ImageSize> {
    let settings = settings(checkpoint)?;
    let side = |key: &str, axis: &str| {
        let size = settings.get(key)?;
        let side = size.as_u64().or_else(|| size.get(axis)?.as_u64())?;
        usize::try_from(side).ok()
    };
    let size = |key: &str| {
        Some(ImageSize {
            height: side(key, "height")?,
            width: side(key, "width")?,
        })
    };
    Ok(size("size").or_else(|| size("crop_size")).unwrap_or_default())
}
