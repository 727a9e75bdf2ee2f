//! `preprocessor_config.json`: settings of the image processor, and the task tables that transformers.js reads there.

use florence2_layout::files::{IMAGE_PROCESSOR, PREPROCESSOR_CONFIG, PROCESSOR_CONFIG};
use florence2_layout::image_size::ImageSize;
use florence2_layout::tasks::{TASKS, TaskInput, TaskSpec};
use serde_json::{Map, Value, json};

use super::{object, read, set_defaults};
use crate::checkpoint::Checkpoint;
use crate::error::Result;

/// ImageNet's channel means and standard deviations, which Florence-2 normalizes with.
const IMAGE_MEAN: [f64; 3] = [0.485, 0.456, 0.406];
const IMAGE_STD: [f64; 3] = [0.229, 0.224, 0.225];
/// Pillow's number for bicubic.
const BICUBIC: u32 = 3;

/// Returns the checkpoint's settings with the graph's image size, completed where they lack something.
pub(super) fn complete(checkpoint: &Checkpoint, image: ImageSize) -> Result<Map<String, Value>> {
    let vision = &checkpoint.config().vision_config;
    let mut settings = settings(checkpoint)?;
    let size = json!({ "height": image.height, "width": image.width });
    let features = vision.feature_tokens(vision.grid(image)?);
    settings.insert("size".into(), size.clone());
    settings.insert("crop_size".into(), size);
    settings.insert("image_seq_length".into(), json!(features));
    set_defaults(
        &mut settings,
        object(json!({
            "do_resize": true,
            "do_center_crop": false,
            "do_rescale": true,
            "do_normalize": true,
            "resample": BICUBIC,
            "rescale_factor": 1.0 / 255.0,
            "image_mean": IMAGE_MEAN,
            "image_std": IMAGE_STD,
            "image_processor_type": "CLIPImageProcessor",
            "processor_class": "Florence2Processor",
            "tasks_answer_post_processing_type": task_table(|_| true, |task| task.output.name()),
            "task_prompts_without_inputs": task_table(|task| task.input == TaskInput::None, |task| task.prompt),
            "task_prompts_with_input": task_table(|task| task.input != TaskInput::None, |task| task.prompt),
        })),
    );
    Ok(settings)
}

/// Returns a table of Microsoft's processor: a value for the tag of each task that is in it.
fn task_table(is_in: fn(&TaskSpec) -> bool, value: fn(&TaskSpec) -> &'static str) -> Map<String, Value> {
    let tasks = TASKS.iter().filter(|task| is_in(task));
    tasks
        .map(|task| (task.tag.to_owned(), value(task).into()))
        .collect()
}

/// Returns the image processor's settings, from whichever of the two files has them.
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

/// Returns the image size in the checkpoint's settings; without any, that of the published models.
pub(crate) fn image_size(checkpoint: &Checkpoint) -> Result<ImageSize> {
    let settings = settings(checkpoint)?;
    let size = |key: &str| {
        let size = settings.get(key)?;
        // A side beyond u32 is rejected with the others that are too large.
        let side = |axis: &str| {
            let side = size.as_u64().or_else(|| size.get(axis)?.as_u64())?;
            Some(u32::try_from(side).unwrap_or(u32::MAX))
        };
        Some(ImageSize::new(side("width")?, side("height")?))
    };
    Ok(size("size")
        .or_else(|| size("crop_size"))
        .unwrap_or(ImageSize::PUBLISHED))
}
