//! `florence2 run`: answers tasks about images.

mod draw;
mod generation;
mod masks;
mod names;
mod writer;

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::path::PathBuf;

use clap::{ArgGroup, Args};
use florence2::{Florence2, ImageFeatures, Output, OutputKind, RunOptions, Task};

use self::draw::AnnotatedImages;
use self::generation::GenerationArgs;
use self::masks::MaskFormat;
use self::writer::ResultWriter;
use super::images::{self, ImageArgs, Input};
use super::requests::RequestArgs;
use crate::args::{GlobalArgs, ModelArg};
use crate::console::{Console, Progress};
use crate::engine;
use crate::error::{Error, Outcome, Result, describe};
use crate::interrupt;
use crate::output::{Format, RecordForm, Target, coordinate_format, task_text};

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
  florence2 run -m DIR -t open-vocabulary-detection --text 'a dog' --text 'a cat' photo.jpg
  florence2 run -m DIR -t region-to-description --region 34,160,597,371 photo.jpg
  florence2 run -m DIR -t region-to-segmentation --region 34,160,597,371 --masks masks photo.jpg
  florence2 run -m DIR --prompt '<DocVQA>What is the total?' invoice.png
  cat photo.jpg | florence2 run -m DIR -t ocr -

JSON: path, width, height, task, input, result (as of transformers'
post_process_generation), scores (one for each instance), masks (with --rle: COCO's
RLE of each outline), raw_text, token_ids, score, truncated, timings in seconds. With --num-return-sequences, `sequences`
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
    /// Write the results to this file instead of stdout; the file appears when all are written, or the run is stopped
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    output: Target,
    /// Draw boxes and outlines: a file, a pattern with {name} and {task}, or a folder
    #[arg(long, value_name = "OUT.png")]
    draw: Option<Target>,
    /// Write the masks of outlines to this folder, as PNG
    #[arg(long, value_name = "DIR")]
    masks: Option<PathBuf>,
    /// The form of --masks
    #[arg(long, value_enum, value_name = "FORM", default_value_t = MaskFormat::Instances, requires = "masks")]
    mask_format: MaskFormat,
    /// Add the masks of outlines to JSON, in COCO's compressed RLE
    #[arg(long)]
    rle: bool,
    /// Show the text as it is generated (greedy search, or sampling with --do-sample)
    #[arg(long)]
    stream: bool,
    /// Parse answers exactly as transformers does: integer coordinates, only ASCII in labels, and so on
    #[arg(long)]
    strict: bool,
}

pub fn run(args: &RunArgs, globals: &GlobalArgs, console: &Console) -> Result<Outcome> {
    interrupt::handle();
    let tasks = args.requests.tasks()?;
    let inputs = args.images.inputs()?;
    let generation = args.generation.options(args.output.stream)?;
    if args.output.stream && args.output.format != Format::Text {
        return Err(Error::Usage(
            "--stream shows text while it is generated; it needs --format text".into(),
        ));
    }
    if args.output.rle && args.output.format == Format::Text {
        return Err(Error::Usage("--rle needs --format json or jsonl".into()));
    }
    let masks = args.output.mask_names(&inputs, &tasks)?;
    // The model says how the answers to a fine-tune's own tags are parsed.
    let has_own = tasks.iter().any(|task| task.kind().is_none());
    let mut annotated = None;
    if !has_own {
        annotated = args.output.annotated(&inputs, &tasks, Task::output_kind)?;
        args.output.check_masks(&tasks, Task::output_kind)?;
    }
    if let Target::File(path) = &args.output.output {
        images::check_not_an_input(path, &inputs)?;
    }
    let headings = inputs.len() * tasks.len() > 1;
    let mut writer = ResultWriter::open(
        &args.output.output,
        args.output.format,
        headings,
        RecordForm {
            coordinates: coordinate_format(args.output.strict),
            masks: args.output.rle,
        },
    )?;

    let model = engine::load(args.model.as_ref(), globals, console)?;
    let search = model.generation_config().with_options(&generation)?;
    args.generation.warn_of_idle_options(&search, console);
    if has_own {
        annotated = args
            .output
            .annotated(&inputs, &tasks, |task| model.output_kind(task))?;
        args.output.check_masks(&tasks, |task| model.output_kind(task))?;
    }
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
        masks,
        mask_format: args.output.mask_format,
        longest: search.max_positions,
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
    if outcome.is_ok() {
        writer.commit()?;
    } else if let Target::File(path) = &args.output.output
        && writer.written() > 0
    {
        let (written, all) = (writer.written(), inputs.len() * tasks.len());
        writer.commit()?;
        console.note(&format!("{} has {written} of {all} results", path.display()));
    }
    outcome
}

impl OutputArgs {
    /// Plans the annotated images.
    fn annotated(
        &self,
        inputs: &[Input],
        tasks: &[Task],
        kind: impl Fn(&Task) -> OutputKind,
    ) -> Result<Option<AnnotatedImages>> {
        let plan = |target| AnnotatedImages::plan(target, &self.output, inputs, tasks, kind);
        self.draw.as_ref().map(plan).transpose()
    }

    /// Checks that masks are requested of tasks that have them.
    fn check_masks(&self, tasks: &[Task], kind: impl Fn(&Task) -> OutputKind) -> Result<()> {
        let has_outlines = |task: &Task| {
            matches!(
                kind(task),
                OutputKind::Polygons | OutputKind::DescriptionWithBboxesOrPolygons
            )
        };
        if (self.masks.is_some() || self.rle) && !tasks.iter().any(has_outlines) {
            return Err(Error::Usage(
                "--masks and --rle: none of the tasks answers with outlines; see `florence2 tasks`".into(),
            ));
        }
        Ok(())
    }

    /// Returns the path of the masks of each image and task, without number and extension.
    ///
    /// # Errors
    /// [`Error::Usage`] if an image is given twice.
    fn mask_names(&self, inputs: &[Input], tasks: &[Task]) -> Result<Vec<Vec<PathBuf>>> {
        let Some(folder) = &self.masks else {
            return Ok(Vec::new());
        };
        let images = names::of_images(inputs);
        let mut taken = HashSet::new();
        if let Some(twice) = images.iter().find(|&name| !taken.insert(name)) {
            return Err(Error::Usage(format!("--masks: the image {twice} is given twice")));
        }
        let tasks = names::of_tasks(tasks);
        let of_image = |image: &String| {
            let names = tasks.iter().map(|task| format!("{image}-{task}"));
            names.map(|name| folder.join(name)).collect()
        };
        Ok(images.iter().map(of_image).collect())
    }
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
    /// The paths of masks by image and task; empty without `--masks`.
    masks: Vec<Vec<PathBuf>>,
    mask_format: MaskFormat,
    /// The most tokens that the model can generate.
    longest: usize,
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
            let features = match self.model.encode_image(&image).map_err(Error::from) {
                Ok(features) => features,
                Err(error) if error.concerns_the_input() => {
                    outcome = Outcome::SomeFailed;
                    let message = describe(&error);
                    self.console.input_failure(&input.to_string(), &message);
                    for task in self.tasks {
                        writer.failure(input, Some(task), &message)?;
                        self.progress.step();
                    }
                    continue;
                }
                Err(error) => return Err(error),
            };
            for (number, task) in self.tasks.iter().enumerate() {
                self.progress.message(format!("{input} {task}"));
                match self.answer(&features, task, input, writer) {
                    Ok(answer) => {
                        writer.answer(input, &answer, self.console)?;
                        self.report(input, &answer);
                        if let Some(annotated) = self.annotated {
                            annotated.draw(index, number, &image, &answer, self.console)?;
                        }
                        if let Some(name) = self.masks.get(index).and_then(|names| names.get(number)) {
                            masks::write(name, self.mask_format, &answer, self.console)?;
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
            let tokens = best.token_ids.len();
            let advice = if tokens >= self.longest {
                "the most that this model can generate"
            } else {
                "raise --max-new-tokens for more"
            };
            self.console.warn(&format!(
                "{input} {}: the answer was cut off after {tokens} tokens; {advice}",
                task_text(&best.task)
            ));
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
