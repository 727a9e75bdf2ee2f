//! The report on two models.

use serde::Serialize;

use super::answers::AnswerComparison;
use super::divergence::{Divergence, Token};
use super::summary::Summary;
use crate::output::{Column, FailureRecord, Table, heading};

/// The number of differences in the text; JSON has all.
const SHOWN: usize = 10;

/// The report on two models.
#[derive(Debug, Serialize)]
pub struct Report {
    pub reference: String,
    pub candidate: String,
    /// The summary of all answers.
    pub overall: Summary,
    /// The summary of each task, in the order of the tasks.
    pub tasks: Vec<Summary>,
    /// The answers, grouped by image.
    pub answers: Vec<AnswerComparison>,
    pub failures: Vec<FailureRecord>,
}

impl Report {
    pub fn new(
        reference: String,
        candidate: String,
        answers: Vec<AnswerComparison>,
        failures: Vec<FailureRecord>,
    ) -> Self {
        let mut tasks: Vec<&str> = Vec::new();
        for answer in &answers {
            if !tasks.contains(&answer.task.as_str()) {
                tasks.push(&answer.task);
            }
        }
        let of_task = |task| {
            let answers = answers.iter().filter(|answer| answer.task == task);
            Summary::of(Some(task), answers)
        };
        Self {
            reference,
            candidate,
            overall: Summary::of(None, &answers),
            tasks: tasks.into_iter().map(of_task).collect(),
            answers,
            failures,
        }
    }

    /// Returns the report as text.
    pub fn text(&self) -> String {
        let title = format!("{} and {}", self.reference, self.candidate);
        heading(&title, "") + &self.summaries() + &self.divergences()
    }

    fn summaries(&self) -> String {
        let figures = [
            "answers", "tokens", "forced", "exact", "text", "F1", "IoU", "mask IoU", "score ±",
        ];
        let columns = [Column::Text("task")].into_iter();
        let mut table = Table::new(columns.chain(figures.map(Column::Number)));
        for summary in self.tasks.iter().chain([&self.overall]) {
            let task = summary.task.clone().unwrap_or_else(|| "all".into());
            let mut row = vec![task, summary.answers.to_string()];
            let figures = [
                summary.token_agreement,
                summary.teacher_forced_agreement,
                summary.exact,
                summary.same_text,
                summary.f1,
                summary.mean_iou,
                summary.mask_iou,
                summary.score_difference,
            ];
            row.extend(figures.map(|value| value.map_or("-".into(), |value| format!("{value:.4}"))));
            table.row(row);
        }
        table.without_empty_columns().text(2)
    }

    /// Returns the table of first differences, those with the largest gap first.
    fn divergences(&self) -> String {
        let answers = self.answers.iter();
        let found = answers.filter_map(|answer| Some((answer, answer.divergence.as_ref()?)));
        let mut found: Vec<_> = found.collect();
        if found.is_empty() {
            return String::new();
        }
        let gap = |divergence: &Divergence| divergence.gap.unwrap_or(f32::INFINITY);
        found.sort_by(|(_, one), (_, other)| gap(other).total_cmp(&gap(one)));
        let mut table = Table::new([
            Column::Text("image"),
            Column::Text("task"),
            Column::Number("token"),
            Column::Text("reference"),
            Column::Text("candidate"),
            Column::Number("gap"),
        ]);
        for (answer, divergence) in found.iter().take(SHOWN) {
            table.row([
                answer.path.clone(),
                answer.task.clone(),
                divergence.position.to_string(),
                token(divergence.reference.as_ref()),
                token(divergence.candidate.as_ref()),
                divergence.gap.map_or("-".into(), |gap| format!("{gap:.3}")),
            ]);
        }
        let more = match found.len().saturating_sub(SHOWN) {
            0 => String::new(),
            more => format!("  and {more} more: see --format json\n"),
        };
        let title = format!("{} of {} answers differ", found.len(), self.answers.len());
        format!(
            "\n{}{}{more}",
            heading(&title, "from this token on"),
            table.text(2)
        )
    }
}

/// Returns a token's text in quotes, so that spaces are visible.
fn token(token: Option<&Token>) -> String {
    token.map_or("(end)".into(), |token| format!("{:?}", token.text))
}
