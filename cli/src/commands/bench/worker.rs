//! `florence2 bench-worker`: the process in which one configuration of a benchmark is measured. It reads
//! [requests](super::protocol) from stdin and answers on stdout, until stdin ends.

use std::io::{self, BufRead, Write};
use std::time::Instant;

use clap::Args;
use florence2::{Florence2, ImageFeatures, Output, RunOptions, Task};
use image::DynamicImage;

use super::memory;
use super::protocol::{Answer, Loaded, Placement, Ran, Request, Sample};
use super::work::Work;
use crate::args::{GlobalArgs, ModelArg};
use crate::console::Console;
use crate::engine;
use crate::error::{Error, Outcome, Result, describe};
use crate::output::json;

/// The command's name.
pub const COMMAND: &str = "bench-worker";

/// Measure one configuration, as `bench` asks on stdin
#[derive(Debug, Args)]
pub struct WorkerArgs {
    #[arg(short, long, value_name = "MODEL")]
    model: ModelArg,
    #[arg(long, value_name = "N")]
    num_beams: usize,
    #[arg(long, value_name = "N")]
    batch: usize,
    #[command(flatten)]
    work: Work,
}

/// Answers requests until stdin ends.
pub fn serve(args: &WorkerArgs, globals: &GlobalArgs, console: &Console) -> Result<Outcome> {
    let mut worker = Worker {
        args,
        globals,
        console,
        image: DynamicImage::ImageRgb8(args.work.picture()?),
        task: args.work.task()?,
        model: None,
    };
    for line in io::stdin().lock().lines() {
        let line = line.map_err(|source| Error::Stream {
            stream: "standard input",
            source,
        })?;
        let answer = match serde_json::from_str(&line) {
            Ok(request) => worker.answer(request),
            Err(error) => Answer::Error(format!("{line:?} is no request: {error}")),
        };
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "{}", json(&answer)?)
            .and_then(|()| stdout.flush())
            .map_err(Error::stdout)?;
    }
    Ok(Outcome::AllGood)
}

struct Worker<'a> {
    args: &'a WorkerArgs,
    globals: &'a GlobalArgs,
    console: &'a Console,
    image: DynamicImage,
    task: Task,
    model: Option<Florence2>,
}

/// How many of each graph's nodes run on each provider; `None` if ONNX Runtime does not say.
fn placement(model: &Florence2) -> Option<Placement> {
    let known = model
        .placements()
        .into_iter()
        .filter(|placement| placement.is_known());
    let placement: Placement = known
        .map(|placement| {
            let nodes = placement.providers.iter().map(|nodes| {
                let name = nodes.provider.trim_end_matches("ExecutionProvider");
                (name.to_owned(), nodes.nodes)
            });
            (placement.graph.clone(), nodes.collect())
        })
        .collect();
    (!placement.is_empty()).then_some(placement)
}

impl Worker<'_> {
    fn answer(&mut self, request: Request) -> Answer {
        let answer = match request {
            Request::Load => self.load().map(Answer::Loaded),
            Request::Run => self.run().map(Answer::Ran),
        };
        answer.unwrap_or_else(|error| Answer::Error(describe(&error)))
    }

    fn load(&mut self) -> Result<Loaded> {
        let start = Instant::now();
        let model = engine::load(Some(&self.args.model), self.globals, self.console)?;
        let seconds = start.elapsed().as_secs_f64();
        let files = model.bundle().layout.files.iter();
        let graphs = files.map(|(graph, file)| (graph.name().to_owned(), file.clone()));
        let loaded = Loaded {
            seconds,
            graphs: graphs.collect(),
            placement: placement(&model),
        };
        self.model = Some(model);
        Ok(loaded)
    }

    /// All of a batch's pictures are encoded, then answered together.
    fn run(&self) -> Result<Ran> {
        let model = self
            .model
            .as_ref()
            .ok_or_else(|| Error::Worker("load the model first".into()))?;
        let batch = self.args.batch;
        let options = RunOptions::default()
            .with_generation(self.args.work.generation(self.args.num_beams))
            .with_max_batch(batch);
        let start = Instant::now();
        let images: Vec<ImageFeatures> = (0..batch)
            .map(|_| model.encode_image(&self.image))
            .collect::<Result<_, _>>()?;
        let requests: Vec<(&ImageFeatures, &Task)> = images.iter().map(|image| (image, &self.task)).collect();
        let answers = model.answer_batch(&requests, &options)?;
        let end_to_end = start.elapsed().as_secs_f64();
        Ok(Ran {
            sample: self.sample(&answers, end_to_end)?,
            peak_memory: memory::peak(),
        })
    }

    /// Each answer's stages together; what the batch shares is counted once.
    fn sample(&self, answers: &[Vec<Output>], end_to_end: f64) -> Result<Sample> {
        let tokens = self.args.work.tokens;
        let mut sample = Sample {
            end_to_end,
            preprocess: 0.0,
            vision_encoder: 0.0,
            text_encoder: 0.0,
            generation: 0.0,
            postprocess: 0.0,
            token: 0.0,
        };
        for output in answers.iter().filter_map(|outputs| outputs.first()) {
            if output.token_ids.len() != tokens {
                return Err(Error::Worker(format!(
                    "an answer of {tokens} tokens was asked for, and the model gave {}",
                    output.token_ids.len()
                )));
            }
            let timings = &output.timings;
            sample.preprocess += timings.preprocess;
            sample.vision_encoder += timings.vision_encoder;
            sample.postprocess += timings.postprocess;
            sample.text_encoder = timings.text_encoder;
            sample.generation = timings.generation;
        }
        sample.token = sample.generation / tokens as f64;
        Ok(sample)
    }
}
