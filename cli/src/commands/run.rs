//! `florence2 run`: answers tasks about images.

mod draw;
mod generation;
mod writer;

use std::ops::ControlFlow;

use clap::{ArgGroup, Args};
use florence2::{Florence2, ImageFeatures, Output, RunOptions, Task};

use self::draw::AnnotatedImages;
use self::generation::GenerationArgs;
use self::writer::ResultWriter;
use super::images::{self, ImageArgs, Input};
use super::requests::RequestArgs;
use crate::args::{GlobalArgs, ModelArg};
use crate::console::{Console, Progress};
use crate::engine;
use crate::error::{Error, Outcome, Result, describe};
use crate::interrupt;
use crate::output::{Format, Target};

/// Answer tasks about images
///
/// All tasks on an image share one pass of the vision encoder.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("question").args(["tasks", "prompts"]).multiple(true).required(true)))]
#[command(after_help = "\
Examples:
  florence2 run -m onnx-community/Florence-2-base-ft -t caption photo.jpg
  florence2 run -m DIR -t caption https://example.com/photo.jpg
  florence2 run -m DIR -t od,ocr --format json *.jpg -o found.json --draw found/
  florence2 run -m DIR -t caption-to-phrase-grounding --text 'a dog' photo.jpg
  florence2 run -m DIR -t region-to-description --region 34,160,597,371 photo.jpg
  florence2 run -m DIR --prompt '<DocVQA>What is the total?' invoice.png
  cat photo.jpg | florence2 run -m DIR -t ocr -

JSON: path, width, height, task, input, result (as of transformers'
post_process_generation), scores (one for each instance), raw_text, token_ids,
score, truncated, timings in seconds. With --num-return-sequences, `sequences`
holds all of them, the best first, and the fields beside it are the best one's.
A failure is {path, task, error}; without a task, the image itself failed.")]
pub struct RunArgs {
    /// The model: a folder with ONNX graphs, an id on a hub (`organisation/name`, `organisation/name@revision`), or
    /// `demo` for the one in this program [default: demo]
    #[arg(short, long, value_name = "MODEL")]
    model: Option<ModelArg>,
    #[command(flatten)]
    requests: RequestArgs,
    #[command(flatten)]
    images: ImageArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    generation: GenerationArgs,
}

/// The output of `run`.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
struct OutputArgs {
    /// The format of the results
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Write the results to this file instead of stdout; the file appears when all are written
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    output: Target,
    /// Draw boxes and outlines: a file, a pattern with {name} and {task}, or a folder
    #[arg(long, value_name = "OUT.png")]
    draw: Option<Target>,
    /// Show the text as it is generated (greedy search, or sampling with --do-sample)
    #[arg(long)]
    stream: bool,
    /// Parse answers exactly as transformers does: integer coordinates, only ASCII in labels, and so on
    #[arg(long)]
    strict: bool,
}

pub fn run(args: &RunArgs, globals: &GlobalArgs, console: &Console) -> Result<Outcome> {
    let tasks = args.requests.tasks(console)?;
    let inputs = args.images.inputs()?;
    let generation = args.generation.options(args.output.stream)?;
    if args.output.stream && args.output.format != Format::Text {
        return Err(Error::Usage(
            "--stream shows text while it is generated; it needs --format text".into(),
        ));
    }
    let annotated = args
        .output
        .draw
        .as_ref()
        .map(|target| AnnotatedImages::plan(target, &args.output.output, &inputs, &tasks))
        .transpose()?;
    if let Target::File(path) = &args.output.output {
        images::check_not_an_input(path, &inputs)?;
    }
    let headings = inputs.len() * tasks.len() > 1;
    let mut writer = ResultWriter::open(
        &args.output.output,
        args.output.format,
        headings,
        args.output.strict,
    )?;

    let model = engine::load(args.model.as_ref(), globals, console)?;
    let search = model.generation_config().with_options(&generation)?;
    args.generation.warn_of_idle_options(&search, console);
    let job = Job {
        model: &model,
        tasks: &tasks,
        options: RunOptions::default()
            .with_cancel(interrupt::cancelling())
            .with_generation(generation)
            .with_parse(model.parse_options().clone().with_strict(args.output.strict)),
        stream: args.output.stream,
        images: &args.images,
        offline: globals.offline,
        annotated: annotated.as_ref(),
        // A bar would overwrite the streamed text.
        progress: if args.output.stream {
            Progress::hidden()
        } else {
            console.bar(inputs.len() * tasks.len())
        },
        console,
    };
    let outcome = job.work(&inputs, &mut writer);
    writer.close()?;
    let outcome = outcome?;
    writer.commit()?;
    Ok(outcome)
}

/// The work on each image.
struct Job<'a> {
    model: &'a Florence2,
    tasks: &'a [Task],
    options: RunOptions,
    stream: bool,
    images: &'a ImageArgs,
    offline: bool,
    annotated: Option<&'a AnnotatedImages>,
    progress: Progress,
    console: &'a Console,
}

impl Job<'_> {
    fn work(&self, inputs: &[Input], writer: &mut ResultWriter) -> Result<Outcome> {
        let mut outcome = Outcome::AllGood;
        for (index, input) in inputs.iter().enumerate() {
            self.progress.message(input.to_string());
            let image = match self.images.read(input, self.offline) {
                Ok(image) => image,
                Err(error) => {
                    outcome = Outcome::SomeFailed;
                    self.failed(writer, input, None, &error)?;
                    self.tasks.iter().for_each(|_| self.progress.step());
                    continue;
                }
            };
            let features = self.model.encode_image(&image)?;
            for (number, task) in self.tasks.iter().enumerate() {
                self.progress.message(format!("{input} {task}"));
                match self.answer(&features, task, input, writer) {
                    Ok(answer) => {
                        writer.answer(input, &answer, self.console)?;
                        self.report(input, &answer);
                        if let Some(annotated) = self.annotated {
                            annotated.draw(index, number, &image, &answer, self.console)?;
                        }
                    }
                    Err(error) if error.concerns_the_input() => {
                        outcome = Outcome::SomeFailed;
                        self.failed(writer, input, Some(task), &error)?;
                    }
                    Err(error) => return Err(error),
                }
                self.progress.step();
            }
        }
        Ok(outcome)
    }

    fn answer(
        &self,
        features: &ImageFeatures,
        task: &Task,
        input: &Input,
        writer: &mut ResultWriter,
    ) -> Result<Output> {
        if !self.stream {
            return Ok(self.model.run_with(features, task, &self.options)?);
        }
        // An error of stdout ends the generation, then the command.
        let mut written = Ok(());
        let output = self.model.stream(features, task, &self.options, |text| {
            if written.is_ok() {
                written = writer.stream(input, task, text, self.console);
            }
            if written.is_ok() {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        })?;
        written?;
        Ok(output)
    }

    fn failed(
        &self,
        writer: &mut ResultWriter,
        input: &Input,
        task: Option<&Task>,
        error: &Error,
    ) -> Result<()> {
        let message = describe(error);
        self.console.input_failure(&input.to_string(), &message);
        writer.failure(input, task, &message)
    }

    fn report(&self, input: &Input, best: &Output) {
        if best.truncated {
            let message = format!(
                "{input} {}: the answer was cut off after {} tokens; raise --max-new-tokens for more",
                best.task,
                best.token_ids.len()
            );
            self.console.warn(&message);
        }
        let timings = &best.timings;
        self.console.detail(&format!(
            "{input} {}: preprocessing {:.3} s, vision {:.3} s, text encoder {:.3} s, {} tokens {:.3} s",
            best.task,
            timings.preprocess,
            timings.vision_encoder,
            timings.text_encoder,
            timings.generated_tokens,
            timings.generation,
        ));
    }
}
