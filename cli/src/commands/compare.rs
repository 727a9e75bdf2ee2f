//! `florence2 compare`: compares the answers of two models, such as a quantized model and its original.

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

use self::answers::Comparer;
use self::report::Report;
use super::images::ImageArgs;
use super::requests::RequestArgs;
use crate::args::{GlobalArgs, ModelArg};
use crate::console::Console;
use crate::error::{Error, Outcome, Result, describe};
use crate::output::{FailureRecord, ReportFormat};
use crate::{engine, interrupt};

/// Compare two models' answers, such as a quantised model's with the original's
///
/// Both models answer the same tasks about the same images. Without --task: all tasks that need no input, and those whose
/// --text or --region is given.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  florence2 compare --reference base-fp32 --candidate base-int8 --fail-below 0.9 *.jpg
  florence2 compare --reference DIR --candidate DIR --candidate-device cuda *.jpg

tokens: the share of the longer answer's tokens before the first difference.
forced: the share of positions at which both models rank the same token first,
given the reference's answer up to there. F1, IoU: of the instances with equal
labels and an IoU of 0.5 or more. gap: the log-probability of the reference's token
at the first difference, minus that of the candidate's, both by the reference
model: near 0, it was a tie.")]
pub struct CompareArgs {
    /// The reference model: a folder with ONNX graphs, a name on a hub, or `demo`
    #[arg(long, value_name = "MODEL")]
    reference: ModelArg,
    /// The model to compare with the reference
    #[arg(long, value_name = "MODEL")]
    candidate: ModelArg,
    /// The candidate's devices, for example to compare a GPU with the CPU [default: --device]
    #[arg(long, value_name = "DEVICE", value_parser = PerPart::<Devices>::from_str)]
    candidate_device: Option<PerPart<Devices>>,
    /// The candidate's dtype [default: --dtype]
    #[arg(long, value_name = "DTYPE", value_parser = PerPart::<Dtype>::from_str)]
    candidate_dtype: Option<PerPart<Dtype>>,
    #[command(flatten)]
    requests: RequestArgs,
    #[command(flatten)]
    images: ImageArgs,
    /// Beams of both models' search; 1 is greedy search [default: each checkpoint's]
    #[arg(long, value_name = "N")]
    num_beams: Option<usize>,
    /// The maximum number of tokens to generate
    #[arg(long, value_name = "N")]
    max_new_tokens: Option<usize>,
    /// Also compare the likeliest token after every prefix of the reference's answers; slow: a run of the text encoder
    /// for each token
    #[arg(long)]
    teacher_forced: bool,
    /// How the report is written; JSON contains every answer
    #[arg(long, value_enum, default_value_t = ReportFormat::Text)]
    format: ReportFormat,
    /// Exit with 1 if less than this share of all tokens agrees, 0 to 1
    #[arg(long, value_name = "SHARE", value_parser = share)]
    fail_below: Option<f64>,
}

pub fn compare(args: &CompareArgs, globals: &GlobalArgs, console: &Console) -> Result<Outcome> {
    let tasks = args.requests.tasks_or_all()?;
    let inputs = args.images.inputs()?;
    let mut generation = GenerationOptions::default();
    generation.num_beams = args.num_beams;
    generation.max_new_tokens = args.max_new_tokens;

    // The process loads one ONNX Runtime, which must have the candidate's execution providers.
    let candidate_globals = args.candidate_globals(globals);
    engine::start(&candidate_globals, console)?;
    let reference = engine::load(Some(&args.reference), globals, console)?;
    let candidate = engine::load(Some(&args.candidate), &candidate_globals, console)?;
    let comparer = Comparer {
        reference: &reference,
        candidate: &candidate,
        options: RunOptions::default()
            .with_cancel(interrupt::cancelling())
            .with_generation(generation),
        teacher_forced: args.teacher_forced,
    };
    let (mut answers, mut failures) = (Vec::new(), Vec::new());
    let progress = console.bar(inputs.len() * tasks.len());
    for input in &inputs {
        let path = input.to_string();
        let mut fail = |task: Option<&Task>, error: Error| {
            let error = describe(&error);
            console.input_failure(&path, &error);
            failures.push(FailureRecord {
                path: path.clone(),
                task: task.map(|task| task.tag().to_owned()),
                error,
            });
        };
        let features = match args.images.read(input, globals.offline) {
            Ok(image) => match comparer.encode(&image) {
                Err(error) if !error.concerns_the_input() => return Err(error),
                encoded => encoded,
            },
            Err(error) => Err(error),
        };
        let features = match features {
            Ok(features) => features,
            Err(error) => {
                fail(None, error);
                tasks.iter().for_each(|_| progress.step());
                continue;
            }
        };
        for task in &tasks {
            progress.message(format!("{input} {task}"));
            match comparer.compare(&path, &features, task) {
                Ok(answer) => answers.push(answer),
                Err(error) if error.concerns_the_input() => fail(Some(task), error),
                Err(error) => return Err(error),
            }
            progress.step();
        }
    }
    drop(progress);

    let name = |model: &Florence2| model.bundle().source.name();
    let report = Report::new(name(&reference), name(&candidate), answers, failures);
    args.format.print(&report, || report.text())?;
    Ok(outcome(&report, args.fail_below, console))
}

impl CompareArgs {
    /// Returns the global options with the candidate's device and dtype.
    fn candidate_globals(&self, globals: &GlobalArgs) -> GlobalArgs {
        let mut globals = globals.clone();
        globals.device = self.candidate_device.clone().unwrap_or(globals.device);
        globals.dtype = self.candidate_dtype.clone().or(globals.dtype);
        globals
    }
}

/// Returns the outcome: whether no image failed and the agreement reaches `fail_below`.
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

/// Parses a share, from 0 to 1.
fn share(text: &str) -> std::result::Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("it must be a number from 0 to 1".into()),
    }
}
