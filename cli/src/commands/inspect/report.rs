//! The report on a model.

use indicatif::{HumanBytes, HumanCount};
use serde::Serialize;
use serde_json::{Map, Value};

use super::facts::Facts;
use super::graphs::{GraphRecord, TensorRecord};
use crate::output::{Column, Table, heading, printable};

/// The report on a model.
#[derive(Debug, Serialize)]
pub struct Report {
    pub model: String,
    /// Whether the model can be loaded.
    pub usable: bool,
    /// Files that the model lacks.
    pub missing: Vec<String>,
    /// Errors of the files that exist.
    pub problems: Vec<String>,
    /// Errors of graphs that are repaired when they are loaded, unless `--no-repair` is given.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub repairs: Vec<String>,
    #[serde(rename = "config")]
    pub facts: Facts,
    pub graphs: Vec<GraphRecord>,
}

/// Returns the report as text.
pub fn render(report: &Report) -> String {
    let verdict = if report.usable { "usable" } else { "not usable" };
    let mut text = heading(&report.model, verdict);
    text += &list("missing", &report.missing);
    text += &list("problem", &report.problems);
    text += &list("needs repair", &report.repairs);
    for (name, settings) in [
        ("language model", &report.facts.text),
        ("vision encoder", &report.facts.vision),
        ("images", &report.facts.image),
        ("search", &report.facts.generation),
    ] {
        text += &group(name, settings);
    }
    let shared = shared_metadata(&report.graphs);
    text += &group("metadata of all graphs", &shared);
    report
        .graphs
        .iter()
        .for_each(|graph| text += &self::graph(graph, &shared));
    text
}

/// Returns the metadata entries that all graphs share.
fn shared_metadata(graphs: &[GraphRecord]) -> Map<String, Value> {
    let Some((first, others)) = graphs.split_first() else {
        return Map::new();
    };
    let shared = first.signature.metadata.iter().filter(|(key, value)| {
        others
            .iter()
            .all(|graph| graph.signature.metadata.get(*key) == Some(*value))
    });
    shared
        .map(|(key, value)| (key.clone(), Value::from(value.as_str())))
        .collect()
}

fn list(kind: &str, entries: &[String]) -> String {
    entries
        .iter()
        .map(|entry| format!("  {kind}: {}\n", printable(entry).replace('\n', " ")))
        .collect()
}

fn group(name: &str, settings: &Map<String, Value>) -> String {
    if settings.is_empty() {
        return String::new();
    }
    let mut table = Table::default();
    for (key, value) in settings {
        table.row([key.to_owned(), value_text(value)]);
    }
    format!("\n{}{}", heading(name, ""), table.text(2))
}

fn graph(graph: &GraphRecord, shared: &Map<String, Value>) -> String {
    let mut text = format!("\n{}", heading(graph.graph, &graph.file));
    let weights = graph.contents.weights.iter();
    let weights: Vec<String> = weights
        .map(|(name, elements)| format!("{} {name}", HumanCount(*elements)))
        .collect();
    let opsets = graph.contents.opsets.iter();
    let opsets: Vec<String> = opsets
        .map(|(domain, version)| format!("{domain} {version}"))
        .collect();
    let producer = graph.signature.producer.as_deref().unwrap_or("unknown");
    text += &printable(&format!(
        "  {}; weights: {}; operators: {}; made by: {producer}\n",
        HumanBytes(graph.bytes),
        weights.join(", "),
        opsets.join(", "),
    ));
    if let Some(error) = &graph.error {
        return text + &list("problem", std::slice::from_ref(error));
    }
    if let Some(placement) = &graph.placement {
        text += &printable(&format!("  runs on: {}\n", placement.summary));
    }
    let mut table = Table::new(["", "tensor", "type", "shape"].map(Column::Text));
    let mut rows = |kind: &str, tensors: &[TensorRecord]| {
        for tensor in tensors {
            let shape: Vec<String> = tensor.shape.iter().map(value_text).collect();
            table.row([
                kind,
                &tensor.name,
                &tensor.dtype,
                &format!("[{}]", shape.join(", ")),
            ]);
        }
    };
    rows("in", &graph.signature.inputs);
    rows("out", &graph.signature.outputs);
    text += &table.text(2);
    let mut metadata = Table::default();
    for (key, value) in &graph.signature.metadata {
        if !shared.contains_key(key) {
            metadata.row([key, value]);
        }
    }
    text + &metadata.text(2)
}

/// Returns a string without its quotes, other values as JSON.
fn value_text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
