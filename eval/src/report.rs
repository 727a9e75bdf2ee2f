//! The result as data: what is written with `--format json` and read back as a baseline.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use florence2::TaskKind;
use serde::{Deserialize, Serialize};

use crate::args::Args;
use crate::comparison::Comparison;
use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::evaluate::{Evaluation, Unread};
use crate::metrics::Metric;

/// The result of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The version of florence2-eval.
    pub version: String,
    /// The model, as it was named.
    pub model: String,
    /// Beams of the search.
    pub num_beams: usize,
    /// Questions answered together.
    pub batch_size: usize,
    /// What it was measured on.
    pub dataset: DatasetReport,
    /// Seconds for a picture's pixels and vision encoder, on average.
    pub seconds_per_image: f64,
    /// The tasks.
    pub tasks: Vec<TaskReport>,
    /// The difference to a baseline, where there was one.
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    pub comparison: Option<Comparison>,
}

/// What a result was measured on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DatasetReport {
    /// The folder, as it was named.
    pub path: String,
    /// Scenes asked about.
    pub scenes: usize,
    /// The SHA-256 of the scenes' lines.
    pub sha256: String,
    /// Scenes whose picture could not be read: none of their samples is in the result.
    pub unread: Vec<Unread>,
}

/// A task's row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskReport {
    /// The task's tag.
    pub task: String,
    /// Answers, one a sample.
    pub answers: usize,
    /// The metrics that the task has, as fractions.
    pub metrics: BTreeMap<Metric, f64>,
    /// Seconds from image features to an answer, on average.
    pub seconds_per_answer: f64,
    /// Tokens of an answer, on average.
    pub tokens_per_answer: f64,
}

impl Report {
    /// The result of an evaluation with these arguments and, by them or by the checkpoint, so many beams.
    pub fn new(args: &Args, num_beams: usize, dataset: &Dataset, evaluation: &Evaluation) -> Self {
        let tasks = evaluation.tasks().map(|(kind, result)| {
            let answers = result.answers as f64;
            TaskReport {
                task: kind.spec().tag.to_owned(),
                answers: result.answers,
                metrics: result.tally.values(),
                seconds_per_answer: result.seconds / answers,
                tokens_per_answer: result.tokens as f64 / answers,
            }
        });
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            model: args.model.display().to_string(),
            num_beams,
            batch_size: args.batch_size.get(),
            dataset: DatasetReport {
                path: args.dataset.display().to_string(),
                scenes: evaluation.scenes,
                sha256: dataset.sha256.clone(),
                unread: evaluation.unread.clone(),
            },
            seconds_per_image: evaluation.vision_seconds / evaluation.scenes as f64,
            tasks: tasks.collect(),
            comparison: None,
        }
    }

    /// Reads the result of an earlier run.
    ///
    /// # Errors
    /// [`Error::Baseline`] if it cannot be read.
    pub fn read(path: &Path) -> Result<Self> {
        let error = |source| Error::Baseline {
            path: path.to_owned(),
            source,
        };
        let text = fs::read(path).map_err(|cause| error(cause.into()))?;
        serde_json::from_slice(&text).map_err(|cause| error(cause.into()))
    }

    /// The row of a task.
    pub fn task(&self, tag: &str) -> Option<&TaskReport> {
        self.tasks.iter().find(|row| row.task == tag)
    }
}

impl TaskReport {
    /// The task's name on the command line; the tag of a task that this version does not know.
    pub fn name(&self) -> &str {
        TaskKind::from_name(&self.task).map_or(&self.task, |kind| kind.spec().name)
    }
}
