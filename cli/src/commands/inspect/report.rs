//! The report on a model.

use florence2::runtime::Dimension;
use indicatif::{HumanBytes, HumanCount};
use serde::Serialize;
use serde_json::Value;

use super::graphs::GraphRecord;
use crate::output::{Column, Table, heading, printable};
use crate::placement;

/// The report on a model.
#[derive(Debug, Serialize)]
pub struct Report {
    pub model: String,
    /// Whether the model can be loaded.
    pub usable: bool,
    /// The names of missing files.
    pub missing: Vec<String>,
    /// Errors in existing files.
    pub problems: Vec<String>,
    /// Errors in graphs that loading repairs, unless `--no-repair` is given.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub repairs: Vec<String>,
    /// Settings by group.
    pub config: Value,
    pub graphs: Vec<GraphRecord>,
}

impl Report {
    /// Returns the report as text.
    pub fn text(&self) -> String {
        let verdict = if self.usable { "usable" } else { "not usable" };
        let mut text = heading(&self.model, verdict);
        text += &list("missing", &self.missing);
        text += &list("problem", &self.problems);
        text += &list("needs repair", &self.repairs);
        for (title, group) in [
            ("language model", "text"),
            ("vision encoder", "vision"),
            ("images", "image"),
            ("search", "generation"),
        ] {
            let settings = self.config.get(group).and_then(Value::as_object);
            let settings = settings.into_iter().flatten();
            let rows = settings.map(|(key, value)| {
                let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                [key.to_owned(), value]
            });
            text += &group_text(title, rows.collect());
        }
        let shared = self
            .graphs
            .first()
            .into_iter()
            .flat_map(|first| &first.signature.metadata);
        let shared = shared.filter(|entry| self.is_shared(*entry));
        let rows = shared.map(|(key, value)| [key.to_owned(), value.to_owned()]);
        text += &group_text("metadata of all graphs", rows.collect());
        for graph in &self.graphs {
            text += &self.graph(graph);
        }
        text
    }

    /// Returns whether all graphs have a metadata entry.
    fn is_shared(&self, (key, value): (&String, &String)) -> bool {
        let mut graphs = self.graphs.iter();
        graphs.all(|graph| graph.signature.metadata.get(key) == Some(value))
    }

    fn graph(&self, graph: &GraphRecord) -> String {
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
            text += &printable(&format!("  runs on: {}\n", placement::summary(placement)));
        }
        let mut tensors = Table::new(["", "tensor", "type", "shape"].map(Column::Text));
        let inputs = graph.signature.inputs.iter().map(|spec| ("in", spec));
        let outputs = graph.signature.outputs.iter().map(|spec| ("out", spec));
        for (kind, spec) in inputs.chain(outputs) {
            let sizes: Vec<String> = spec.dims.iter().map(Dimension::to_string).collect();
            let shape = format!("[{}]", sizes.join(", "));
            tensors.row([kind.to_owned(), spec.name.clone(), spec.dtype(), shape]);
        }
        let mut metadata = Table::default();
        for (key, value) in &graph.signature.metadata {
            if !self.is_shared((key, value)) {
                metadata.row([key, value]);
            }
        }
        text + &tensors.text(2) + &metadata.text(2)
    }
}

fn list(kind: &str, entries: &[String]) -> String {
    entries
        .iter()
        .map(|entry| format!("  {kind}: {}\n", printable(entry).replace('\n', " ")))
        .collect()
}

/// Returns a heading and rows of two columns, or nothing if there are no rows.
fn group_text(title: &str, rows: Vec<[String; 2]>) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut table = Table::default();
    rows.into_iter().for_each(|row| table.row(row));
    format!("\n{}{}", heading(title, ""), table.text(2))
}
