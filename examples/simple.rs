//! Detects the objects in an image:
//!
//! ```text
//! cargo run --example simple -- MODEL_FOLDER IMAGE
//! cargo run --example simple --features demo -- demo models/demo/scenes/hotel.jpg
//! ```

use anyhow::bail;
use florence2::{Florence2, LoadOptions, Task, load_image};

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, image] = arguments.as_slice() else {
        bail!("give a model folder and an image");
    };

    let model = load(model)?;
    let image = load_image(image)?;
    let output = model.run(&image, &Task::ObjectDetection)?;
    for object in output.parsed.detections() {
        println!("{:<20} {}", object.label, object.bbox);
    }
    Ok(())
}

fn load(model: &str) -> florence2::Result<Florence2> {
    #[cfg(feature = "demo")]
    if model == florence2::demo::NAME {
        return Florence2::demo(LoadOptions::default());
    }
    Florence2::from_pretrained(model, LoadOptions::default())
}
