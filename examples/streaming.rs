//! Streams an answer word by word, for at most ten seconds.
//!
//! ```text
//! cargo run --release --example streaming -- MODEL_FOLDER IMAGE
//! ```

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::time::Duration;

use anyhow::bail;
use florence2::{Florence2, LoadOptions, RunOptions, Task, load_image};

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, image] = arguments.as_slice() else {
        bail!("give a model folder and an image");
    };

    let model = Florence2::from_pretrained(model, LoadOptions::default())?;
    let image = load_image(image)?;
    let options = RunOptions::default().with_timeout(Duration::from_secs(10));
    let mut stdout = io::stdout();
    let output = model.stream(&image, &Task::MoreDetailedCaption, &options, |text| {
        // Stops if stdout is closed.
        match write!(stdout, "{text}").and_then(|()| stdout.flush()) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    })?;
    println!("\n{} tokens", output.token_ids.len());
    Ok(())
}
