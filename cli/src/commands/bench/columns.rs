//! What a table says about each configuration.

use super::figures::{END_TO_END, FIGURES, Figure};
use super::plan::Configuration;
use super::protocol::Placement;
use super::record::{Entry, Measurement, Settings};
use super::statistics::Summary;
use crate::output::Column;

/// The columns that name a configuration.
pub const NAMES: [Column; 5] = [
    Column::Text("model"),
    Column::Text("device"),
    Column::Text("dtype"),
    Column::Number("beams"),
    Column::Number("batch"),
];
/// Their keys in CSV.
pub const NAME_KEYS: [&str; 5] = ["model", "device", "dtype", "num_beams", "batch"];

/// A configuration's names.
pub fn names(configuration: &Configuration) -> Vec<String> {
    vec![
        configuration.model.clone(),
        configuration.device.clone(),
        configuration.dtype.clone(),
        configuration.num_beams.to_string(),
        configuration.batch.to_string(),
    ]
}

/// A column of numbers.
pub struct NumberColumn {
    /// In CSV.
    pub key: String,
    /// For people.
    pub title: &'static str,
    value: Value,
    /// What its numbers are.
    style: Style,
}

/// Where a column's number comes from.
enum Value {
    Median(&'static Figure),
    P95(&'static Figure),
    Noise(&'static Figure),
    /// Answers a second.
    Answers,
    /// New tokens a second.
    Tokens,
}

/// How a number is shown to people.
#[derive(Clone, Copy)]
enum Style {
    /// Three digits.
    Plain,
    Percent,
}

/// All columns of numbers.
pub fn numbers() -> Vec<NumberColumn> {
    let mut columns = Vec::new();
    for figure in &FIGURES {
        let key = |what: &str| format!("{}{what}_{}", figure.key, figure.unit.name());
        columns.push(NumberColumn::new(key(""), figure.title, Value::Median(figure)));
        if figure.key == END_TO_END.key {
            columns.push(NumberColumn {
                style: Style::Percent,
                ..NumberColumn::new(format!("{}_noise", figure.key), "±", Value::Noise(figure))
            });
            columns.push(NumberColumn::new(key("_p95"), "p95", Value::P95(figure)));
            columns.push(NumberColumn::new(
                "answers_per_second".into(),
                "answers/s",
                Value::Answers,
            ));
            columns.push(NumberColumn::new(
                "tokens_per_second".into(),
                "tokens/s",
                Value::Tokens,
            ));
        }
    }
    columns
}

impl NumberColumn {
    fn new(key: String, title: &'static str, value: Value) -> Self {
        Self {
            key,
            title,
            value,
            style: Style::Plain,
        }
    }

    /// The number, in the unit of the report; `None` if it was not measured.
    pub fn number(&self, entry: &Entry, settings: &Settings) -> Option<f64> {
        let measured = entry.measurement()?;
        let of = |figure: &Figure, part: fn(Summary) -> f64| {
            Some(figure.unit.shown(part(measured.summary(figure)?)))
        };
        match self.value {
            Value::Median(figure) => of(figure, |summary| summary.median),
            Value::P95(figure) => of(figure, |summary| summary.p95),
            Value::Noise(figure) => Some(measured.summary(figure)?.noise),
            Value::Answers => answers_per_second(measured, &entry.configuration),
            Value::Tokens => {
                Some(answers_per_second(measured, &entry.configuration)? * settings.tokens as f64)
            }
        }
    }

    /// The number for people.
    pub fn text(&self, entry: &Entry, settings: &Settings) -> String {
        let number = self.number(entry, settings);
        number.map_or_else(String::new, |number| match self.style {
            Style::Plain => three_digits(number),
            Style::Percent => format!("{:.0} %", number * 100.0),
        })
    }
}

fn answers_per_second(measured: &Measurement, configuration: &Configuration) -> Option<f64> {
    let seconds = measured.summary(&END_TO_END)?.median;
    (seconds > 0.0).then(|| configuration.batch as f64 / seconds)
}

/// As many decimals as make three digits.
fn three_digits(number: f64) -> String {
    let decimals = match number.abs() {
        number if number >= 99.95 => 0,
        number if number >= 9.995 => 1,
        _ => 2,
    };
    format!("{number:.decimals$}")
}

/// How many nodes run on each provider, the most used first: `CUDA 790, CPU 22`.
pub fn placement(placement: &Placement) -> String {
    let mut providers: Vec<(&str, usize)> = Vec::new();
    for (provider, nodes) in placement.values().flatten() {
        match providers.iter_mut().find(|(known, _)| known == provider) {
            Some((_, all)) => *all += nodes,
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
    use std::collections::BTreeMap;

    use super::super::record::tests::{entry, run};
    use super::*;

    #[test]
    fn throughput_counts_the_batch() {
        let settings = run(Vec::new()).settings;
        let entry = entry(8, &[0.4, 0.5, 0.6]);
        let number = |key: &str| {
            let columns = numbers();
            let column = columns.iter().find(|column| column.key == key).unwrap();
            column.number(&entry, &settings)
        };
        assert_eq!(number("answers_per_second"), Some(16.0));
        assert_eq!(number("tokens_per_second"), Some(160.0));
        assert_eq!(number("end_to_end_ms"), Some(500.0));
        assert_eq!(number("load_ms"), Some(2000.0));
        assert_eq!(number("host_memory_mib"), Some(3.0));
        assert_eq!(number("device_memory_mib"), None);
        assert!((number("end_to_end_noise").unwrap() - 0.1).abs() < 1e-9);
    }

    #[test]
    fn numbers_have_three_digits() {
        let shown = [0.0, 0.1234, 9.994, 9.996, 99.94, 99.96, 12345.6].map(three_digits);
        assert_eq!(shown, ["0.00", "0.12", "9.99", "10.0", "99.9", "100", "12346"]);
    }

    #[test]
    fn placements_are_summed_over_graphs() {
        let graph = |nodes: &[(&str, usize)]| -> BTreeMap<String, usize> {
            nodes
                .iter()
                .map(|&(provider, count)| (provider.to_owned(), count))
                .collect()
        };
        let placed = Placement::from([
            ("decoder_step".into(), graph(&[("cpu", 3), ("cuda", 40)])),
            ("vision_encoder".into(), graph(&[("cuda", 100)])),
        ]);
        assert_eq!(placement(&placed), "cuda 140, cpu 3");
    }
}
