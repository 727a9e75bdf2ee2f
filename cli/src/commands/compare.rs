//! `florence2 compare`: how far a model's answers are those of another, as an optimised or quantised one's of the one
//! that it was made from.

mod answers;
mod divergence;
mod report;
mod summary;

use std::str::FromStr;

use clap::Args;
use florence2::PerPart;
use florence2::bundle::Dtype;
use florence2::generation::GenerationOptions;
use florence2::runtime::Devices;
use florence2::{Florence2, RunOptions, Task};
use image::DynamicImage;

use self::answers::{AnswerComparison, Comparer};
use self::report::{Failure, Report};
use super::images::{ImageArgs, Input};
use super::requests::RequestArgs;
use crate::args::{GlobalArgs, ModelArg};
use crate::console::{Console, Progress};
use crate::engine;
use crate::error::{Outcome, Result, describe};
use crate::interrupt;
use crate::output::{Destination, ReportFormat, Target, json_pretty};

/// Compare two models' answers, as a quantised model's with the original's
///
/// Both models answer the same tasks about the same images. Without --task, these are all that need no input, and those
/// whose --text or --region is given.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  florence2 compare --reference base-fp32 --candidate base-int8 --fail-below 0.9 *.jpg
  florence2 compare --reference DIR --candidate DIR --candidate-device cuda *.jpg

tokens: those before the first that differs, of the longer answer's. forced: given
the reference's answer so far, how often both find the same token likeliest.
F1, IoU: of the instances with equal labels and an IoU of 0.5 or more. gap: by how
much likelier, in log-probability, the reference found its token at the first
difference than the candidate's: near 0, it was a tie.")]
pub struct CompareArgs {
    /// The model to go by: a folder with ONNX graphs, a name on a hub, or `demo`
    #[arg(long, value_name = "MODEL")]
    reference: ModelArg,
    /// The model to judge
    #[arg(long, value_name = "MODEL")]
    candidate: ModelArg,
    /// The devices of the model to judge, where they are not those of both: what a GPU answers, say [default: --device]
    #[arg(long, value_name = "DEVICE", value_parser = PerPart::<Devices>::from_str)]
    candidate_device: Option<PerPart<Devices>>,
    /// The dtype of the model to judge, where it is not that of both [default: --dtype]
    #[arg(long, value_name = "DTYPE", value_parser = PerPart::<Dtype>::from_str)]
    candidate_dtype: Option<PerPart<Dtype>>,
    #[command(flatten)]
    requests: RequestArgs,
    #[command(flatten)]
    images: ImageArgs,
    /// Beams, for both; 1 is greedy search [default: what each checkpoint asks for]
    #[arg(long, value_name = "N")]
    num_beams: Option<usize>,
    /// The most tokens to generate
    #[arg(long, value_name = "N")]
    max_new_tokens: Option<usize>,
    /// Also compare the likeliest token after every part of the reference's answers; slow: a run of the text encoder
    /// for each token
    #[arg(long)]
    teacher_forced: bool,
    /// How the report is written; JSON has every answer
    #[arg(long, value_enum, default_value_t = ReportFormat::Text)]
    format: ReportFormat,
    /// Exit with 1 if less than this share of all tokens agrees, 0 to 1
    #[arg(long, value_name = "SHARE", value_parser = share)]
    fail_below: Option<f64>,
}

pub fn compare(args: &CompareArgs, globals: &GlobalArgs, console: &Console) -> Result<Outcome> {
    let tasks = args.requests.tasks_or_all(console)?;
    let inputs = args.images.inputs()?;
    let mut generation = GenerationOptions::default();
    generation.num_beams = args.num_beams;
    generation.max_new_tokens = args.max_new_tokens;

    // One library for both: it should have what the candidate needs.
    let candidate_globals = args.candidate_globals(globals);
    engine::start(&candidate_globals, console)?;
    let reference = engine::load(Some(&args.reference), globals, console)?;
    let candidate = engine::load(Some(&args.candidate), &candidate_globals, console)?;
    let job = Job {
        comparer: Comparer {
            reference: &reference,
            candidate: &candidate,
            options: RunOptions::default()
                .with_cancel(interrupt::cancelling())
                .with_generation(generation),
            teacher_forced: args.teacher_forced,
        },
        tasks: &tasks,
        images: &args.images,
        offline: globals.offline,
        progress: console.bar(inputs.len() * tasks.len()),
        console,
    };
    let (answers, failures) = job.work(&inputs)?;
    drop(job);

    let name = |model: &Florence2| model.bundle().source.name();
    let report = Report::new(name(&reference), name(&candidate), answers, failures);
    let mut out = Destination::open(&Target::Stdout)?;
    match args.format {
        ReportFormat::Json => out.write(&json_pretty(&report)?)?,
        ReportFormat::Text => out.write(&report.text())?,
    }
    out.commit()?;
    Ok(outcome(&report, args.fail_below, console))
}

impl CompareArgs {
    /// The options of every command, as they are for the candidate.
    fn candidate_globals(&self, globals: &GlobalArgs) -> GlobalArgs {
        let mut globals = globals.clone();
        globals.device = self.candidate_device.clone().unwrap_or(globals.device);
        globals.dtype = self.candidate_dtype.clone().or(globals.dtype);
        globals
    }
}

/// Whether all went well, and the models agree as far as they are to.
fn outcome(report: &Report, fail_below: Option<f64>, console: &Console) -> Outcome {
    let agreement = report.overall.token_agreement.unwrap_or(0.0);
    match fail_below {
        Some(limit) if agreement < limit => {
            console.failure(&format!(
                "{agreement:.4} of the tokens agree, which is less than {limit}"
            ));
            Outcome::SomeFailed
        }
        _ if report.failures.is_empty() => Outcome::AllGood,
        _ => Outcome::SomeFailed,
    }
}

/// A share of the whole.
fn share(text: &str) -> std::result::Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("it is a number from 0 to 1".into()),
    }
}

/// What is to be done with each image.
struct Job<'a> {
    comparer: Comparer<'a>,
    tasks: &'a [Task],
    images: &'a ImageArgs,
    offline: bool,
    progress: Progress,
    console: &'a Console,
}

impl Job<'_> {
    /// All comparisons, and what failed; an image that cannot be read does not stop the others.
    fn work(&self, inputs: &[Input]) -> Result<(Vec<AnswerComparison>, Vec<Failure>)> {
        let (mut answers, mut failures) = (Vec::new(), Vec::new());
        for input in inputs {
            let path = input.to_string();
            let features = match self.images.read(input, self.offline) {
                Ok(image) => self.comparer.encode(&DynamicImage::ImageRgb8(image))?,
                Err(error) => {
                    failures.push(self.failed(&path, None, describe(&error)));
                    self.tasks.iter().for_each(|_| self.progress.step());
                    continue;
                }
            };
            for task in self.tasks {
                self.progress.message(format!("{input} {task}"));
                match self.comparer.compare(&path, &features, task) {
                    Ok(answer) => answers.push(answer),
                    Err(error) if error.concerns_the_input() => {
                        failures.push(self.failed(&path, Some(task), describe(&error)));
                    }
                    Err(error) => return Err(error),
                }
                self.progress.step();
            }
        }
        Ok((answers, failures))
    }

    fn failed(&self, path: &str, task: Option<&Task>, error: String) -> Failure {
        self.console.input_failure(path, &error);
        Failure {
            path: path.to_owned(),
            task: task.map(|task| task.tag().to_owned()),
            error,
        }
    }
}
