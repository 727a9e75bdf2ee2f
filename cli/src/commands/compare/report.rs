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
        let all: Vec<&AnswerComparison> = answers.iter().collect();
        let mut by_task: Vec<(&str, Vec<&AnswerComparison>)> = Vec::new();
        for &answer in &all {
            match by_task.iter_mut().find(|(task, _)| *task == answer.task) {
                Some((_, answers)) => answers.push(answer),
                None => by_task.push((&answer.task, vec![answer])),
            }
        }
        Self {
            reference,
            candidate,
            overall: Summary::of(None, &all),
            tasks: by_task
                .into_iter()
                .map(|(task, answers)| Summary::of(Some(task), &answers))
                .collect(),
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
        let mut columns = vec![Column::Text("task")];
        columns.extend(
            [
                "answers", "tokens", "forced", "exact", "text", "F1", "IoU", "mask IoU", "score ±",
            ]
            .map(Column::Number),
        );
        let mut table = Table::new(columns);
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
        let mut found: Vec<_> = self
            .answers
            .iter()
            .filter_map(|answer| Some((answer, answer.divergence.as_ref()?)))
            .collect();
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
