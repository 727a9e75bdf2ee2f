//! The command line.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use florence2::{TASKS, TaskKind};

/// Measure a Florence-2 model's quality on a labelled set of scenes
#[derive(Debug, Parser)]
#[command(name = "florence2-eval", version)]
#[command(after_help = "\
Examples:
  florence2-eval --model demo SCENES
  florence2-eval --model DIR SCENES --format json > fp32.json
  florence2-eval --model DIR-int8 SCENES --baseline fp32.json --tolerance 1

Exit codes: 0 all good; 1 a metric is worse than the baseline, or pictures could
not be read; 2 usage, model or data set error.")]
pub struct Args {
    /// The data set: a folder with scenes.jsonl and its pictures
    #[arg(value_name = "DATASET")]
    pub dataset: PathBuf,
    /// The model's folder, or `demo` for the engine's own
    #[arg(short, long, value_name = "MODEL")]
    pub model: PathBuf,
    /// Beams of the search; 1 is greedy [default: the checkpoint's]
    #[arg(long, value_name = "N")]
    pub num_beams: Option<NonZeroUsize>,
    /// Questions answered together; the answers are the same, and sooner there
    #[arg(long, value_name = "N", default_value = "1")]
    pub batch_size: NonZeroUsize,
    /// Only the first N scenes
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// Only these tasks, by name or tag [default: all]
    #[arg(short, long, value_name = "TASK,...", value_delimiter = ',', value_parser = task)]
    pub tasks: Vec<TaskKind>,
    /// Threads to compute with [default: one per physical core]
    #[arg(long, value_name = "N")]
    pub threads: Option<NonZeroUsize>,
    /// How the result is written
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
    /// An earlier result (--format json) on the same scenes to compare with
    #[arg(long, value_name = "FILE")]
    pub baseline: Option<PathBuf>,
    /// Percentage points by which a metric may be worse than in the baseline
    #[arg(long, value_name = "POINTS", default_value_t = 0.0, value_parser = tolerance, requires = "baseline")]
    pub tolerance: f64,
}

/// How the result is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Columns for people
    Table,
    /// A table of Markdown
    Markdown,
    /// Everything, and what --baseline takes
    Json,
}

fn task(name: &str) -> Result<TaskKind, String> {
    TaskKind::from_name(name).ok_or_else(|| {
        let names: Vec<&str> = TASKS.iter().map(|spec| spec.name).collect();
        format!("there is no such task; the tasks are {}", names.join(", "))
    })
}

fn tolerance(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(points) if (0.0..=100.0).contains(&points) => Ok(points),
        _ => Err("it is percentage points, from 0 to 100".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_fit_together() {
        Args::command().debug_assert();
    }
}
