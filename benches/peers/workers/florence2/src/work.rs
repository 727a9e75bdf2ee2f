//! The work of the requests, timed.

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use florence2::generation::GenerationOptions;
use florence2::runtime::{self, RuntimeOptions, SessionOptions};
use florence2::{Florence2, ImageFeatures, LoadOptions, Output, PixelValues, RunOptions, Task, load_image};
use serde_json::{Value, json};

use crate::requests::{Request, Search};

/// A loaded model and a prepared image.
#[derive(Default)]
pub struct Worker {
    model: Option<Florence2>,
    prepared: Option<Prepared>,
}

/// An image encoded for the stages.
struct Prepared {
    pixels: PixelValues,
    features: ImageFeatures,
}

impl Worker {
    /// Answers a request; `seconds` is set if it measures something.
    pub fn answer(&mut self, request: Request) -> Result<Value, Box<dyn Error>> {
        match request {
            Request::Load { model, threads } => self.load(&model, threads),
            Request::Prepare { image } => self.prepare(&image),
            Request::Vision => {
                let (model, prepared) = (self.model()?, self.prepared()?);
                let start = Instant::now();
                let features = model.encode_image(&prepared.pixels)?;
                let seconds = seconds(start);
                let norm = features
                    .view()
                    .mapv(|value| f64::from(value).powi(2))
                    .sum()
                    .sqrt();
                Ok(json!({ "seconds": seconds, "norm": norm }))
            }
            Request::TextEncoder => {
                // The shortest answer: two tokens, of which the first is forced.
                let (_, output) = self.task(&Task::ObjectDetection, Search { beams: 1, tokens: 2 })?;
                Ok(json!({ "seconds": output.timings.text_encoder }))
            }
            Request::Generate(search) => {
                let (_, output) = self.task(&Task::ObjectDetection, search)?;
                Ok(json!({ "seconds": output.timings.generation, "tokens": output.token_ids }))
            }
            Request::Answer { image, search } => self.answer_file(&image, search),
            Request::SecondTask(search) => {
                let (seconds, output) = self.task(&Task::Caption, search)?;
                Ok(json!({ "seconds": seconds, "tokens": output.token_ids }))
            }
        }
    }

    fn load(&mut self, folder: &Path, threads: usize) -> Result<Value, Box<dyn Error>> {
        let start = Instant::now();
        let runtime = runtime::init_or_fetch(&RuntimeOptions::default(), &|_| {})?;
        let mut session = SessionOptions::default();
        session.intra_threads = Some(threads);
        let options = LoadOptions::default().with_session(session);
        self.model = Some(Florence2::from_pretrained(folder, options)?);
        Ok(json!({
            "seconds": seconds(start),
            "versions": { "florence2": env!("CARGO_PKG_VERSION"), "onnxruntime": runtime.version },
        }))
    }

    fn prepare(&mut self, path: &Path) -> Result<Value, Box<dyn Error>> {
        let model = self.model()?;
        let image = load_image(path)?;
        let pixels = model.image_processor().process(&image)?;
        let features = model.encode_image(&pixels)?;
        self.prepared = Some(Prepared { pixels, features });
        Ok(json!({}))
    }

    /// Answers a task about the prepared image; returns the seconds and the answer.
    fn task(&self, task: &Task, search: Search) -> Result<(f64, Output), Box<dyn Error>> {
        let (model, prepared) = (self.model()?, self.prepared()?);
        let start = Instant::now();
        let output = model.run_with(&prepared.features, task, &options(search))?;
        Ok((seconds(start), output))
    }

    fn answer_file(&self, path: &Path, search: Search) -> Result<Value, Box<dyn Error>> {
        let model = self.model()?;
        let start = Instant::now();
        let image = load_image(path)?;
        let decode = seconds(start);
        let output = model.run_with(&image, &Task::ObjectDetection, &options(search))?;
        let seconds = seconds(start);
        Ok(json!({
            "seconds": seconds,
            "tokens": output.token_ids,
            "decode": decode,
            "timings": output.timings,
        }))
    }

    fn model(&self) -> Result<&Florence2, &'static str> {
        self.model.as_ref().ok_or("load a model first")
    }

    fn prepared(&self) -> Result<&Prepared, &'static str> {
        self.prepared.as_ref().ok_or("prepare an image first")
    }
}

fn options(search: Search) -> RunOptions {
    let generation = GenerationOptions::default()
        .with_num_beams(search.beams)
        .with_min_new_tokens(search.tokens)
        .with_max_new_tokens(search.tokens);
    RunOptions::default().with_generation(generation)
}

fn seconds(start: Instant) -> f64 {
    start.elapsed().as_secs_f64()
}
