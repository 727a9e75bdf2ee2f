//! The tables of a report.

use super::comparison::{Change, Comparison};
use super::figures::{END_TO_END, FIGURES};
use super::plan::Configuration;
use super::record::{Entry, Measurement, Run};
use crate::output::{Column, Table};

/// Returns the columns that name a configuration; for CSV, their titles are the keys of JSON.
fn names(csv: bool) -> [Column<'static>; 5] {
    [
        Column::Text("model"),
        Column::Text("device"),
        Column::Text("dtype"),
        Column::Number(if csv { "num_beams" } else { "beams" }),
        Column::Number("batch"),
    ]
}

/// Returns the table of configurations without measurements; for CSV, column titles are the keys of JSON.
pub fn plan(configurations: &[&Configuration], csv: bool) -> Table {
    let mut table = Table::new(names(csv));
    for configuration in configurations {
        table.row(configuration.names());
    }
    table
}

/// Returns the table of measurements, rounded to three digits.
pub fn measurements(run: &Run) -> Table {
    let titles = numbers(None, 0, 0);
    let titles = titles.iter().map(|number| Column::Number(number.title));
    let mut table = Table::new(
        names(false)
            .into_iter()
            .chain(titles)
            .chain([Column::Text("nodes on")]),
    );
    for entry in &run.configurations {
        let numbers = entry_numbers(entry, run);
        let row = entry.configuration.names().into_iter();
        table.row(
            row.chain(numbers.iter().map(Number::text))
                .chain([placement(entry)]),
        );
    }
    table
}

/// Returns the table of ratios to the baseline.
pub fn ratios(run: &Run, comparison: &Comparison) -> Table {
    let titles = FIGURES.iter().map(|figure| Column::Number(figure.title));
    let mut table = Table::new(names(false).into_iter().chain(titles));
    for (configuration, _) in run.measured() {
        let changes = FIGURES.iter().map(|figure| {
            let change = comparison.change(configuration, figure);
            change.map_or_else(|| "-".to_owned(), Change::text)
        });
        table.row(configuration.names().into_iter().chain(changes));
    }
    table
}

/// Returns the table for CSV: measurements as plain numbers, reasons of failures, and ratios to the baseline.
pub fn csv(run: &Run, comparison: Option<&Comparison>) -> Table {
    let mut keys: Vec<String> = numbers(None, 0, 0).into_iter().map(|number| number.key).collect();
    keys.extend(["placement", "error"].map(str::to_owned));
    if comparison.is_some() {
        keys.extend(FIGURES.iter().map(|figure| format!("{}_ratio", figure.key)));
    }
    let keys = keys.iter().map(|key| Column::Number(key));
    let mut table = Table::new(names(true).into_iter().chain(keys));
    for entry in &run.configurations {
        let mut row = entry.configuration.names().to_vec();
        row.extend(entry_numbers(entry, run).iter().map(|number| plain(number.value)));
        row.push(placement(entry));
        row.push(entry.failure().unwrap_or_default().to_owned());
        if let Some(comparison) = comparison {
            let changes = FIGURES
                .iter()
                .map(|figure| comparison.change(&entry.configuration, figure));
            row.extend(changes.map(|change| plain(change.map(|change| change.ratio))));
        }
        table.row(row);
    }
    table
}

/// A number in a row, with the key and the title of its column.
struct Number {
    /// The column's title in CSV.
    key: String,
    title: &'static str,
    /// `None` if not measured.
    value: Option<f64>,
}

/// The title of the relative spread, which is shown in percent.
const SPREAD: &str = "±";

/// Returns the numbers of a configuration's row; without a measurement, their values are `None`.
fn numbers(measured: Option<&Measurement>, batch: usize, tokens: usize) -> Vec<Number> {
    let mut numbers = Vec::new();
    let mut push = |key: String, title, value| numbers.push(Number { key, title, value });
    for figure in &FIGURES {
        let (key, unit) = (figure.key, figure.unit);
        let scaled = |value: f64| value * figure.scale;
        let summary = measured.and_then(|measured| measured.summary(figure));
        let median = summary.map(|summary| summary.median);
        push(format!("{key}_{unit}"), figure.title, median.map(scaled));
        if key == END_TO_END.key {
            let noise = summary.map(|summary| summary.noise);
            let p95 = summary.map(|summary| summary.p95);
            let answers = median.map(|seconds| batch as f64 / seconds);
            let new_tokens = answers.map(|answers| answers * tokens as f64);
            push(format!("{key}_noise"), SPREAD, noise);
            push(format!("{key}_p95_{unit}"), "p95", p95.map(scaled));
            push("answers_per_second".into(), "answers/s", answers);
            push("tokens_per_second".into(), "tokens/s", new_tokens);
        }
    }
    numbers
}

fn entry_numbers(entry: &Entry, run: &Run) -> Vec<Number> {
    let batch = entry.configuration.batch;
    numbers(entry.measurement(), batch, run.settings.tokens)
}

impl Number {
    /// Formats the number with three digits; `-` if it was not measured.
    fn text(&self) -> String {
        match self.value {
            Some(value) if self.title == SPREAD => format!("{:.0} %", value * 100.0),
            Some(value) => three_digits(value),
            None => "-".to_owned(),
        }
    }
}

fn three_digits(number: f64) -> String {
    let decimals = match number.abs() {
        number if number >= 99.95 => 0,
        number if number >= 9.995 => 1,
        _ => 2,
    };
    format!("{number:.decimals$}")
}

/// Formats a number for CSV, with at most four decimals.
fn plain(number: Option<f64>) -> String {
    number.map_or_else(String::new, |number| ((number * 1e4).round() / 1e4).to_string())
}

/// Returns the number of nodes on each provider in all graphs, the largest first: `CUDA 790, CPU 22`. Empty if not
/// known.
fn placement(entry: &Entry) -> String {
    let mut providers: Vec<(&str, usize)> = Vec::new();
    let graphs = entry
        .measurement()
        .and_then(|measured| measured.placement.as_ref());
    for (provider, nodes) in graphs.iter().flat_map(|graphs| graphs.values()).flatten() {
        match providers.iter_mut().find(|(known, _)| known == provider) {
            Some((_, sum)) => *sum += nodes,
            None => providers.push((provider, *nodes)),
        }
    }
    providers.sort_by_key(|&(_, nodes)| std::cmp::Reverse(nodes));
    let parts = providers
        .iter()
        .map(|(provider, nodes)| format!("{provider} {nodes}"));
    parts.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::entry;
    use super::*;

    #[test]
    fn throughput_counts_the_batch() {
        let entry = entry(8, &[0.4, 0.5, 0.6]);
        let numbers = numbers(entry.measurement(), 8, 10);
        let value = |key: &str| numbers.iter().find(|number| number.key == key).unwrap().value;
        assert_eq!(value("answers_per_second"), Some(16.0));
        assert_eq!(value("tokens_per_second"), Some(160.0));
        assert_eq!(value("end_to_end_ms"), Some(500.0));
        assert_eq!(value("load_ms"), Some(2000.0));
        assert_eq!(value("host_memory_mib"), Some(3.0));
        assert_eq!(value("device_memory_mib"), None);
        assert!((value("end_to_end_noise").unwrap() - 0.1).abs() < 1e-9);
    }

    #[test]
    fn numbers_have_three_digits() {
        let shown = [0.0, 0.1234, 9.994, 9.996, 99.94, 99.96, 12345.6].map(three_digits);
        assert_eq!(shown, ["0.00", "0.12", "9.99", "10.0", "99.9", "100", "12346"]);
    }
}
