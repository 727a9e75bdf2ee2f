//! The result of an evaluation: written as JSON, read back as a baseline, shown as a table.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use florence2::{TASKS, TaskKind};
use serde::{Deserialize, Serialize};

use super::EvalArgs;
use super::comparison::Comparison;
use super::dataset::Dataset;
use super::evaluation::{Evaluation, Unread};
use super::metric::Metric;
use crate::error::{Error, Result};
use crate::output::{Column, Table};

/// The result of an evaluation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The version of this program.
    pub version: String,
    /// The model as named on the command line.
    pub model: String,
    pub num_beams: usize,
    pub batch_size: usize,
    pub dataset: DatasetReport,
    /// Mean seconds of an image's preprocessing and vision encoder.
    pub seconds_per_image: f64,
    pub tasks: Vec<TaskReport>,
    /// The difference from the baseline, if one was given.
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    pub comparison: Option<Comparison>,
}

/// The data set of a result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DatasetReport {
    /// The folder as named on the command line.
    pub path: String,
    /// The number of scenes evaluated.
    pub scenes: usize,
    /// The SHA-256 of the scenes' lines.
    pub sha256: String,
    /// Scenes whose image could not be read; the result has none of their samples.
    pub unread: Vec<Unread>,
}

/// The result of one task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskReport {
    /// The task's tag.
    pub task: String,
    /// The number of answers, one for each sample.
    pub answers: usize,
    /// The values of the metrics, as fractions.
    pub metrics: BTreeMap<Metric, f64>,
    /// Mean seconds from image features to an answer.
    pub seconds_per_answer: f64,
    /// Mean tokens of an answer.
    pub tokens_per_answer: f64,
}

impl Report {
    /// Returns the result of `evaluation`. `num_beams` is the number of beams that was used, whether set by `args` or
    /// by the checkpoint.
    pub fn new(args: &EvalArgs, num_beams: usize, dataset: &Dataset, evaluation: &Evaluation) -> Self {
        let tasks = TASKS.iter().filter_map(|task| {
            let result = evaluation.tasks.get(&task.kind)?;
            let answers = result.answers as f64;
            Some(TaskReport {
                task: task.tag.to_owned(),
                answers: result.answers,
                metrics: result.tally.values(),
                seconds_per_answer: result.seconds / answers,
                tokens_per_answer: result.tokens as f64 / answers,
            })
        });
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            model: args.model.to_string(),
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

    /// Reads an earlier result, as `--format json` writes it.
    ///
    /// # Errors
    /// [`Error::Baseline`] if the file cannot be read or is not such a result.
    pub fn read(path: &Path) -> Result<Self> {
        let error = |cause: &dyn std::error::Error| Error::Baseline {
            path: path.to_owned(),
            reason: format!("{cause}; a baseline is made with --format json"),
        };
        let text = fs::read(path).map_err(|cause| error(&cause))?;
        serde_json::from_slice(&text).map_err(|cause| error(&cause))
    }

    /// Returns a table with a row for each task; metrics are in percent.
    pub fn table(&self) -> Table {
        let mut columns = vec![Column::Text("task"), Column::Number("answers")];
        columns.extend(Metric::ALL.map(|metric| Column::Number(metric.title())));
        columns.extend([Column::Number("tokens"), Column::Number("ms")]);
        let mut table = Table::new(columns);
        for task in &self.tasks {
            let name = TaskKind::from_name(&task.task).map_or(&*task.task, |kind| kind.spec().name);
            let mut row = vec![name.to_owned(), task.answers.to_string()];
            row.extend(Metric::ALL.map(|metric| self.cell(task, metric)));
            row.push(format!("{:.1}", task.tokens_per_answer));
            row.push(format!("{:.1}", task.seconds_per_answer * 1e3));
            table.row(row);
        }
        table.without_empty_columns()
    }

    /// Returns a metric in percent; if it differs from the baseline, the difference in points follows, with `!` if the
    /// metric is worse by more than the tolerance.
    fn cell(&self, task: &TaskReport, metric: Metric) -> String {
        let percent =
            |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{:.1}", value * 100.0));
        let comparison = self.comparison.as_ref();
        let change = comparison.and_then(|comparison| comparison.change(&task.task, metric));
        let value = task.metrics.get(&metric).copied();
        let Some(change) = change.filter(|change| change.before != change.after) else {
            return percent(value);
        };
        let difference = match change.points() {
            Some(points) => format!("{points:+.2}"),
            None => format!("was {}", percent(change.before)),
        };
        let mark = if change.worse { "!" } else { "" };
        format!("{} ({difference}{mark})", percent(value))
    }

    /// Returns the line below the table: model, scenes, search, and units.
    pub fn summary(&self) -> String {
        let beams = match self.num_beams {
            1 => "greedy search".to_owned(),
            beams => format!("{beams} beams"),
        };
        let batch = match self.batch_size {
            1 => String::new(),
            size => format!(", batches of {size}"),
        };
        let compared = self.comparison.as_ref().map_or_else(String::new, |comparison| {
            format!(
                " In brackets: percentage points above the baseline ({}); `!`: worse by more than {}.",
                comparison.model, comparison.tolerance
            )
        });
        format!(
            "Model {}, {} scenes, {beams}{batch}. Metrics in percent; CER and truncated: less is better. Times: ms an \
             answer, beside {:.1} ms an image.{compared}\n",
            self.model,
            self.dataset.scenes,
            self.seconds_per_image * 1e3,
        )
    }
}
