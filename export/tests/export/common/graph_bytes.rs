//! Graphs of a fixture checkpoint, as bytes.

use florence2_export::{Checkpoint, ExportOptions, GraphFile, export_graph_bytes};

/// Returns a checkpoint made by `tests/reference/make_checkpoints.py`.
pub fn fixture(name: &str) -> Checkpoint {
    let folder = format!(
        "{}/../tests/fixtures/checkpoints/{name}",
        env!("CARGO_MANIFEST_DIR")
    );
    Checkpoint::open(folder).unwrap()
}

/// Returns the fixture of base's structure.
pub fn base_like() -> Checkpoint {
    fixture("base-like")
}

/// Returns a graph of [`base_like`].
pub fn graph(file: GraphFile, options: &ExportOptions) -> Vec<u8> {
    export_graph_bytes(&base_like(), file, options).unwrap()
}

/// Returns the number of occurrences of `text` in a graph.
pub fn count(graph: &[u8], text: &str) -> usize {
    graph
        .windows(text.len())
        .filter(|window| *window == text.as_bytes())
        .count()
}
