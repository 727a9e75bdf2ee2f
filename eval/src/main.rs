//! Measures a Florence-2 model's quality on a labelled set of scenes.
//!
//! The result goes to stdout, everything else to stderr. Exit codes: 0 all good, 1 a metric is worse than the
//! baseline or pictures could not be read, 2 a usage, model or data set error.
#![warn(missing_docs)]

mod args;
mod comparison;
mod dataset;
mod engine;
mod error;
mod evaluate;
mod metrics;
mod report;
mod table;

use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use clap::Parser;
use florence2::RunOptions;
use florence2::generation::GenerationOptions;
use indicatif::{ProgressBar, ProgressStyle};
use tracing_subscriber::EnvFilter;

use crate::args::{Args, Format};
use crate::comparison::Comparison;
use crate::dataset::{Dataset, Selection};
use crate::error::{Error, Result, describe};
use crate::evaluate::Evaluation;
use crate::report::Report;
use crate::table::Style;

fn main() -> ExitCode {
    // While there is one thread.
    florence2::runtime::disable_telemetry();
    let args = Args::parse();
    let logs = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn,ort=error"));
    tracing_subscriber::fmt()
        .with_env_filter(logs)
        .with_writer(io::stderr)
        .init();
    match run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {}", describe(&error));
            ExitCode::from(2)
        }
    }
}

/// Measures, compares and writes; whether all is good.
fn run(args: &Args) -> Result<bool> {
    let baseline = args.baseline.as_deref().map(Report::read).transpose()?;
    let selection = Selection {
        limit: args.limit,
        tasks: args.tasks.clone(),
    };
    let dataset = Dataset::open(&args.dataset, &selection)?;
    let mut report = measure(args, &dataset)?;
    if let Some(baseline) = baseline {
        report.comparison = Some(Comparison::new(&report, &baseline, args.tolerance)?);
    }
    write(&render(&report, args.format)?)?;
    Ok(all_good(&report))
}

fn measure(args: &Args, dataset: &Dataset) -> Result<Report> {
    let mut generation = GenerationOptions::default();
    generation.num_beams = args.num_beams.map(usize::from);
    let model = engine::load(&args.model, args.threads)?;
    let num_beams = model.generation_config().with_options(&generation)?.num_beams;
    let options = RunOptions::default().with_generation(generation);

    // Without a terminal, it does not show.
    let progress = ProgressBar::new(dataset.scenes.len() as u64).with_style(progress_style());
    let evaluation = Evaluation::run(&model, dataset, &options, args.batch_size, |scene| {
        progress.set_message(scene.name());
        progress.inc(1);
    });
    progress.finish_and_clear();
    Ok(Report::new(args, num_beams, dataset, &evaluation?))
}

/// The template is ours, and right; indicatif's default is as good if it were not.
fn progress_style() -> ProgressStyle {
    ProgressStyle::with_template("{pos}/{len} {wide_bar} {eta} {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn render(report: &Report, format: Format) -> Result<String> {
    Ok(match format {
        Format::Table => table::render(report, Style::Plain),
        Format::Markdown => table::render(report, Style::Markdown),
        Format::Json => serde_json::to_string_pretty(report)? + "\n",
    })
}

/// Writes to stdout; a reader that has seen enough is no error.
fn write(text: &str) -> Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Error::Stdout(error)),
        _ => Ok(()),
    }
}

/// Says on stderr what is not good.
fn all_good(report: &Report) -> bool {
    let unread = &report.dataset.unread;
    for scene in unread {
        eprintln!("error: {}: {}", scene.image, scene.reason);
    }
    if !unread.is_empty() {
        eprintln!("error: {} scenes are not in the result", unread.len());
    }
    let worse: Vec<String> = report
        .comparison
        .iter()
        .flat_map(Comparison::worse)
        .map(|change| format!("{} {}", change.task, change.metric.title()))
        .collect();
    if !worse.is_empty() {
        eprintln!("error: worse than the baseline: {}", worse.join(", "));
    }
    unread.is_empty() && worse.is_empty()
}
