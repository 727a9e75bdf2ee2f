//! Shares an application's ONNX Runtime environment, whose thread pool serves all its models, and passes a session of its
//! own for one of the graphs.
//!
//! ```text
//! cargo run --release --example own_sessions -- MODEL_FOLDER IMAGE
//! ```

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use anyhow::{Context, anyhow, bail};
use florence2::bundle::GraphFile;
use florence2::ort;
use florence2::ort::environment::GlobalThreadPoolOptions;
use florence2::ort::session::Session;
use florence2::runtime::{self, RuntimeOptions};
use florence2::{Bundle, BundleSource, Florence2, LoadOptions, Task, load_image};

fn main() -> anyhow::Result<()> {
    // The application that loads ONNX Runtime disables its telemetry first, while there is one thread.
    runtime::disable_telemetry();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, image] = arguments.as_slice() else {
        bail!("give a model folder and an image");
    };

    // The application creates the process's only environment, with the library that `florence2` finds.
    runtime::find_library(&RuntimeOptions::default())?;
    let threads = GlobalThreadPoolOptions::default().with_intra_threads(2)?;
    let environment = ort::init()
        .with_name("my application")
        .with_global_thread_pool(threads)
        .build()?;

    // It loads a graph itself, and may continue to use it.
    let session = Session::builder(&environment)?.commit_from_file(vision_encoder(model)?)?;
    let session = Arc::new(Mutex::new(session));
    let options = LoadOptions::default()
        .with_runtime(RuntimeOptions::default().with_environment(environment))
        .with_shared_session(GraphFile::VisionEncoder, session.clone());
    let model = Florence2::from_pretrained(model, options)?;
    let image = load_image(image)?;
    let output = model.run(&image, &Task::Caption)?;
    println!("{}", output.parsed.text().unwrap_or_default());
    let session = session.lock().map_err(|_| anyhow!("another thread panicked"))?;
    println!(
        "the application's own session takes {}",
        session.inputs()[0].name()
    );
    Ok(())
}

/// Returns the path of a model's vision encoder.
fn vision_encoder(model: &str) -> anyhow::Result<PathBuf> {
    let bundle = Bundle::open(BundleSource::Folder(model.into()))?;
    let file = bundle.layout.files.get(&GraphFile::VisionEncoder);
    Ok(Path::new(model).join(file.context("there is no vision encoder")?))
}
