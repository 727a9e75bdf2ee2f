//! `florence2 eval`: measures a model's quality on a labelled data set.

mod comparison;
mod dataset;
mod evaluation;
mod metric;
mod report;
mod score;
mod truth;

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use florence2::generation::GenerationOptions;
use florence2::{RunOptions, TaskKind};

use self::comparison::Comparison;
use self::dataset::Dataset;
use self::evaluation::Evaluation;
use self::report::Report;
use crate::args::{GlobalArgs, ModelArg, task_kind};
use crate::console::Console;
use crate::error::{Error, Outcome, Result};
use crate::output::{json_pretty, print};
use crate::{engine, interrupt};

/// Measure a model's quality on a labelled data set
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  florence2 eval --model demo SCENES
  florence2 eval --model DIR SCENES --format json > fp32.json
  florence2 eval --model DIR-int8 SCENES --baseline fp32.json --tolerance 1

Exit codes: 0 success; 1 a metric is worse than the baseline, or an image could not
be read; 2 usage, model or data set error.")]
pub struct EvalArgs {
    /// The data set: a folder with scenes.jsonl and its images (format: docs/evaluation.md)
    #[arg(value_name = "DATASET")]
    dataset: PathBuf,
    /// The model: a folder, a name on a hub (`organisation/name`), or `demo` for the one in this program
    #[arg(short, long, value_name = "MODEL")]
    model: ModelArg,
    /// Beams of the search; 1 is greedy search [default: the checkpoint's]
    #[arg(long, value_name = "N")]
    num_beams: Option<NonZeroUsize>,
    /// Samples in a batch; the answers do not depend on it
    #[arg(long, value_name = "N", default_value = "1")]
    batch_size: NonZeroUsize,
    /// Evaluate only the first N scenes
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Evaluate only these tasks, by name or tag [default: all]
    #[arg(short, long, value_name = "TASK,...", value_delimiter = ',', value_parser = task_kind)]
    tasks: Vec<TaskKind>,
    /// How the result is written
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// An earlier result (--format json) on the same scenes to compare with
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// Percentage points by which a metric may be worse than in the baseline
    #[arg(long, value_name = "POINTS", default_value_t = 0.0, value_parser = tolerance, requires = "baseline")]
    tolerance: f64,
}

/// How the result is written.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// A table for people
    Table,
    /// A Markdown table
    Markdown,
    /// The whole result, which --baseline reads
    Json,
}

pub fn eval(args: &EvalArgs, globals: &GlobalArgs, console: &Console) -> Result<Outcome> {
    let baseline = args.baseline.as_deref().map(Report::read).transpose()?;
    let dataset = Dataset::open(&args.dataset, args.limit, &args.tasks)?;
    let mut report = measure(args, &dataset, globals, console)?;
    if let (Some(path), Some(baseline)) = (&args.baseline, &baseline) {
        let comparison = Comparison::new(&report, baseline, args.tolerance);
        report.comparison = Some(comparison.map_err(|reason| Error::Baseline {
            path: path.clone(),
            reason: format!("{reason}; make a new baseline from the same scenes"),
        })?);
    }
    print(&match args.format {
        Format::Table => report.table().text(0) + "\n" + &report.summary(),
        Format::Markdown => report.table().markdown() + "\n" + &report.summary(),
        Format::Json => json_pretty(&report)?,
    })?;
    Ok(outcome(&report, console))
}

fn measure(args: &EvalArgs, dataset: &Dataset, globals: &GlobalArgs, console: &Console) -> Result<Report> {
    let mut generation = GenerationOptions::default();
    generation.num_beams = args.num_beams.map(usize::from);
    let model = engine::load(Some(&args.model), globals, console)?;
    let num_beams = model.generation_config().with_options(&generation)?.num_beams;
    let options = RunOptions::default()
        .with_cancel(interrupt::cancelling())
        .with_generation(generation);
    let progress = console.bar(dataset.scenes.len());
    let evaluation = Evaluation::run(&model, dataset, &options, args.batch_size, &progress)?;
    Ok(Report::new(args, num_beams, dataset, &evaluation))
}

/// Reports unreadable images and worse metrics on stderr.
fn outcome(report: &Report, console: &Console) -> Outcome {
    let unread = &report.dataset.unread;
    for scene in unread {
        console.input_failure(&scene.image, &scene.reason);
    }
    if !unread.is_empty() {
        console.failure(&format!("{} scenes are not in the result", unread.len()));
    }
    let worse: Vec<String> = report
        .comparison
        .iter()
        .flat_map(Comparison::worse)
        .map(|change| format!("{} {}", change.task, change.metric.title()))
        .collect();
    if !worse.is_empty() {
        console.failure(&format!("worse than the baseline: {}", worse.join(", ")));
    }
    if unread.is_empty() && worse.is_empty() {
        Outcome::AllGood
    } else {
        Outcome::SomeFailed
    }
}

/// Parses a tolerance in percentage points.
fn tolerance(text: &str) -> std::result::Result<f64, String> {
    match text.parse() {
        Ok(points) if (0.0..=100.0).contains(&points) => Ok(points),
        _ => Err("it must be percentage points, from 0 to 100".to_owned()),
    }
}
