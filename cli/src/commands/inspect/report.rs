//! The report.

use indicatif::{HumanBytes, HumanCount};
use serde::Serialize;
use serde_json::{Map, Value};

use super::facts::Facts;
use super::graphs::{GraphRecord, Size, TensorRecord};
use crate::output::{Column, Table, heading, printable};

/// All that there is to say about a model.
#[derive(Debug, Serialize)]
pub struct Report {
    pub model: String,
    /// Whether it can be loaded as a whole.
    pub usable: bool,
    /// Files that a whole model has.
    pub missing: Vec<String>,
    /// What is there but wrong.
    pub problems: Vec<String>,
    /// What is wrong in graphs, and repaired when they are loaded, unless `--no-repair` is given.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub repairs: Vec<String>,
    #[serde(rename = "config")]
    pub facts: Facts,
    pub graphs: Vec<GraphRecord>,
}

/// The report for people.
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

/// What all graphs say of themselves alike.
fn shared_metadata(graphs: &[GraphRecord]) -> Map<String, Value> {
    let Some((first, others)) = graphs.split_first() else {
        return Map::new();
    };
    let shared = first.metadata.iter().filter(|(key, value)| {
        others
            .iter()
            .all(|graph| graph.metadata.get(*key) == Some(*value))
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
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        table.row([key.as_str(), &value]);
    }
    format!("\n{}{}", heading(name, ""), table.text(2))
}

fn graph(graph: &GraphRecord, shared: &Map<String, Value>) -> String {
    let mut text = format!("\n{}", heading(graph.graph, &graph.file));
    let weights: Vec<String> = graph
        .weights
        .iter()
        .map(|(name, numbers)| format!("{} {name}", HumanCount(*numbers)))
        .collect();
    let opsets: Vec<String> = graph
        .opsets
        .iter()
        .map(|(domain, version)| format!("{domain} {version}"))
        .collect();
    let producer = graph.producer.as_deref().unwrap_or("unknown");
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
            let shape: Vec<String> = tensor.shape.iter().map(size_text).collect();
            table.row([
                kind,
                &tensor.name,
                &tensor.dtype,
                &format!("[{}]", shape.join(", ")),
            ]);
        }
    };
    rows("in", &graph.inputs);
    rows("out", &graph.outputs);
    text += &table.text(2);
    let mut metadata = Table::default();
    let own = graph
        .metadata
        .iter()
        .filter(|(key, _)| !shared.contains_key(*key));
    own.for_each(|(key, value)| metadata.row([key.as_str(), value]));
    text + &metadata.text(2)
}

fn size_text(size: &Size) -> String {
    match size {
        Size::Fixed(size) => size.to_string(),
        Size::Any(name) => name.clone(),
    }
}
