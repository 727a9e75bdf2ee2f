//! Runs several tasks on one image. The vision encoder, which takes most of the time, runs once; an answer is the input of
//! the next task.
//!
//! ```text
//! cargo run --release --example many_tasks -- MODEL_FOLDER IMAGE
//! cargo run --release --example many_tasks --features demo -- demo models/demo/scenes/hotel.jpg
//! ```

use anyhow::bail;
use florence2::generation::GenerationOptions;
use florence2::{
    CoordinateFormat, Florence2, ImageFeatures, LoadOptions, Output, Region, RunOptions, Task, load_image,
};

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, image] = arguments.as_slice() else {
        bail!("give a model folder and an image");
    };

    let model = load(model)?;
    let features = model.encode_image(&load_image(image)?)?;

    let caption = ask(&model, &features, Task::Caption)?;
    if let Some(caption) = caption.parsed.text() {
        ask(
            &model,
            &features,
            Task::CaptionToPhraseGrounding(caption.to_owned()),
        )?;
    }
    let objects = ask(&model, &features, Task::ObjectDetection)?;
    if let Some(first) = objects.parsed.detections().first() {
        ask(
            &model,
            &features,
            Task::RegionToDescription(Region::Pixels(first.bbox)),
        )?;
    }
    Ok(())
}

/// Runs a task, with greedy search for speed, and prints the answer and its duration.
fn ask(model: &Florence2, features: &ImageFeatures, task: Task) -> florence2::Result<Output> {
    let options = RunOptions::default().with_generation(GenerationOptions::default().with_num_beams(1));
    let output = model.run_with(features, &task, &options)?;
    let result = output
        .parsed
        .to_transformers(task.tag(), CoordinateFormat::default());
    println!(
        "{result}  ({} tokens in {:.3} s)",
        output.token_ids.len(),
        output.timings.generation
    );
    Ok(output)
}

fn load(model: &str) -> florence2::Result<Florence2> {
    #[cfg(feature = "demo")]
    if model == florence2::demo::NAME {
        return Florence2::demo(LoadOptions::default());
    }
    Florence2::from_pretrained(model, LoadOptions::default())
}
