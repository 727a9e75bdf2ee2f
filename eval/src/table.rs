//! The result for people.

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

use crate::metrics::Metric;
use crate::report::{Report, TaskReport};

/// How the table is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Columns without lines.
    Plain,
    /// A table of Markdown.
    Markdown,
}

/// The table of a result, one row a task, metrics in percent, with a line about the whole of it.
pub fn render(report: &Report, style: Style) -> String {
    let metrics: Vec<Metric> = Metric::ALL
        .into_iter()
        .filter(|metric| {
            report
                .tasks
                .iter()
                .any(|row| row.metrics.contains_key(metric) || has_change(report, row, *metric))
        })
        .collect();
    let mut table = Table::new();
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.load_preset(match style {
        Style::Plain => presets::NOTHING,
        Style::Markdown => presets::ASCII_MARKDOWN,
    });
    let titles = metrics.iter().map(|metric| metric.title());
    table.set_header(
        ["task", "answers"]
            .into_iter()
            .chain(titles)
            .chain(["tokens", "ms"]),
    );
    for row in &report.tasks {
        let values = metrics.iter().map(|&metric| cell(report, row, metric));
        let head = [row.name().to_owned(), row.answers.to_string()];
        let costs = [
            format!("{:.1}", row.tokens_per_answer),
            format!("{:.1}", row.seconds_per_answer * 1e3),
        ];
        table.add_row(head.into_iter().chain(values).chain(costs));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    if style == Style::Plain {
        table.column_iter_mut().for_each(|column| {
            column.set_padding((0, 2));
        });
    }
    let table: String = table
        .lines()
        .map(|line| format!("{}\n", line.trim_end()))
        .collect();
    format!("{table}\n{}\n", summary(report))
}

fn has_change(report: &Report, row: &TaskReport, metric: Metric) -> bool {
    let comparison = report.comparison.as_ref();
    comparison.is_some_and(|comparison| comparison.change(&row.task, metric).is_some())
}

/// A value in percent; beside it, if it differs from the baseline, by how many points, and `!` if it is too much.
fn cell(report: &Report, row: &TaskReport, metric: Metric) -> String {
    let percent = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{:.1}", value * 100.0));
    let value = row.metrics.get(&metric).copied();
    let comparison = report.comparison.as_ref();
    let change = comparison.and_then(|comparison| comparison.change(&row.task, metric));
    let Some(change) = change.filter(|change| change.before != change.after) else {
        return match value {
            Some(_) => percent(value),
            None => String::new(),
        };
    };
    let difference = match change.points() {
        Some(points) => format!("{points:+.2}"),
        None => format!("was {}", percent(change.before)),
    };
    let mark = if change.worse { "!" } else { "" };
    format!("{} ({difference}{mark})", percent(value))
}

fn summary(report: &Report) -> String {
    let beams = match report.num_beams {
        1 => "greedy search".to_owned(),
        beams => format!("{beams} beams"),
    };
    let batch = match report.batch_size {
        1 => String::new(),
        size => format!(", batches of {size}"),
    };
    let compared = report.comparison.as_ref().map_or_else(String::new, |comparison| {
        format!(
            " In brackets: percentage points above the baseline ({}); `!`: worse by more than {}.",
            comparison.model, comparison.tolerance
        )
    });
    format!(
        "Model {}, {} scenes, {beams}{batch}. Metrics in percent; CER and truncated: less is better. Times: ms an answer, beside \
         {:.1} ms a picture.{compared}",
        report.model,
        report.dataset.scenes,
        report.seconds_per_image * 1e3,
    )
}
