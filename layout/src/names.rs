//! The names of graph files and tensors in deployments of several origins, and the table that a deployment can bring.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use crate::graphs::{GraphFile, is_graph};

/// The number of a decoder's layer in the names of a [`GraphNames`] table.
const LAYER: &str = "{layer}";

/// A table of the names that a deployment has for graph files and tensors.
///
/// As JSON, an object with an entry for each [graph](GraphFile::name) that has names of its own:
///
/// ```
/// # use florence2_layout::graphs::GraphFile;
/// # use florence2_layout::names::DeploymentNames;
/// let json = r#"{
///     "vision_encoder": { "files": ["fp32/visual.onnx"], "outputs": { "image_features": "image_embeds" } },
///     "decoder_model": { "outputs": { "present.{layer}.decoder.key": "present_self_{layer}_k" } }
/// }"#;
/// let names: DeploymentNames = serde_json::from_str(json)?;
/// assert_eq!(names.of(GraphFile::VisionEncoder).files, ["fp32/visual.onnx"]);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DeploymentNames {
    /// The names of each graph; a graph without an entry has the built-in names.
    pub graphs: BTreeMap<GraphFile, GraphNames>,
}

/// The names of a graph's files and tensors.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GraphNames {
    /// Each is a path inside the deployment with its extension, or a file name without dtype and extension. The first that
    /// exists is used.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
    /// The graph's name of each input that is not called as in [`graphs`](crate::graphs). `{layer}` in both names stands
    /// for the number of a layer.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub inputs: BTreeMap<String, String>,
    /// The graph's names of outputs, as [`inputs`](Self::inputs).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub outputs: BTreeMap<String, String>,
}

impl DeploymentNames {
    /// Returns the built-in tables: the layouts' own names (those of onnx-community), usls', and those of optimum-like exports.
    pub fn built_in() -> &'static [DeploymentNames] {
        static TABLES: LazyLock<[DeploymentNames; 3]> = LazyLock::new(|| {
            let own = GraphFile::ALL.map(|graph| (graph, vec![graph.name().to_owned()]));
            let usls = [
                (GraphFile::VisionEncoder, "vision_encoder"),
                (GraphFile::EmbedTokens, "embed_tokens"),
                (GraphFile::EncoderModel, "encoder"),
                (GraphFile::DecoderModel, "decoder"),
                (GraphFile::DecoderModelMerged, "decoder_merged"),
                (GraphFile::DecoderWithPastModel, "decoder_with_past"),
            ];
            let optimum = [
                (GraphFile::VisionEncoder, "vision_encoder_model"),
                (GraphFile::EmbedTokens, "embed_tokens_model"),
                (GraphFile::EncoderModel, "language_model_encoder"),
                (GraphFile::DecoderModel, "language_model_decoder"),
                (
                    GraphFile::DecoderWithPastModel,
                    "language_model_decoder_with_past",
                ),
            ];
            [
                DeploymentNames::of_files(own),
                DeploymentNames::of_files(
                    usls.map(|(graph, name)| (graph, vec![name.into(), format!("{name}_dyn")])),
                ),
                DeploymentNames::of_files(optimum.map(|(graph, name)| (graph, vec![name.into()]))),
            ]
        });
        &*TABLES
    }

    fn of_files(files: impl IntoIterator<Item = (GraphFile, Vec<String>)>) -> Self {
        let graphs = files.into_iter().map(|(graph, files)| {
            let names = GraphNames {
                files,
                ..GraphNames::default()
            };
            (graph, names)
        });
        Self {
            graphs: graphs.collect(),
        }
    }

    /// Returns a graph's names.
    pub fn of(&self, graph: GraphFile) -> &GraphNames {
        static NONE: GraphNames = GraphNames {
            files: Vec::new(),
            inputs: BTreeMap::new(),
            outputs: BTreeMap::new(),
        };
        self.graphs.get(&graph).unwrap_or(&NONE)
    }
}

impl GraphNames {
    /// Returns the [files](Self::files) that are paths.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.files
            .iter()
            .map(String::as_str)
            .filter(|file| is_graph(file))
    }

    /// Returns the [files](Self::files) that are names without dtype and extension.
    pub fn stems(&self) -> impl Iterator<Item = &str> {
        self.files
            .iter()
            .map(String::as_str)
            .filter(|file| !is_graph(file))
    }

    /// Returns the layout's name of the graph's input `name`, if the table has one.
    pub fn layout_input(&self, name: &str) -> Option<String> {
        layout_name(&self.inputs, name)
    }

    /// Returns the layout's name of the graph's output `name`, if the table has one.
    pub fn layout_output(&self, name: &str) -> Option<String> {
        layout_name(&self.outputs, name)
    }
}

fn layout_name(names: &BTreeMap<String, String>, name: &str) -> Option<String> {
    names
        .iter()
        .find_map(|(layout, pattern)| match pattern.split_once(LAYER) {
            None => (pattern == name).then(|| layout.clone()),
            Some((start, end)) => {
                let layer = name.strip_prefix(start)?.strip_suffix(end)?;
                let is_number = !layer.is_empty() && layer.bytes().all(|byte| byte.is_ascii_digit());
                is_number.then(|| layout.replace(LAYER, layer))
            }
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_read_and_written_as_json() {
        let json = r#"{"vision_encoder":{"files":["a/b.onnx","c"],"inputs":{"pixel_values":"input"}},"embed_tokens":{}}"#;
        let names: DeploymentNames = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::to_string(&names).unwrap(), json);
        let vision = names.of(GraphFile::VisionEncoder);
        assert_eq!(vision.paths().collect::<Vec<_>>(), ["a/b.onnx"]);
        assert_eq!(vision.stems().collect::<Vec<_>>(), ["c"]);
        assert_eq!(vision.layout_input("input").as_deref(), Some("pixel_values"));
        assert_eq!(vision.layout_input("pixel_values"), None);
        assert_eq!(names.of(GraphFile::DecoderStep), &GraphNames::default());
        for invalid in [
            r#"{"vision":{}}"#,
            r#"{"vision_encoder":{"file":"a.onnx"}}"#,
            "[]",
        ] {
            assert!(
                serde_json::from_str::<DeploymentNames>(invalid).is_err(),
                "{invalid}"
            );
        }
        for table in DeploymentNames::built_in() {
            let json = serde_json::to_string(table).unwrap();
            assert_eq!(serde_json::from_str::<DeploymentNames>(&json).unwrap(), *table);
        }
    }

    #[test]
    fn one_entry_names_the_tensors_of_all_layers() {
        let pair = |layout: &str, name: &str| (layout.to_owned(), name.to_owned());
        let names = GraphNames {
            outputs: BTreeMap::from([
                pair("present.{layer}.decoder.key", "kv_{layer}_k"),
                pair("logits", "scores"),
            ]),
            ..GraphNames::default()
        };
        for (name, layout) in [
            ("kv_0_k", Some("present.0.decoder.key")),
            ("kv_11_k", Some("present.11.decoder.key")),
            ("scores", Some("logits")),
            ("kv__k", None),
            ("kv_x_k", None),
            ("kv_0_v", None),
        ] {
            assert_eq!(names.layout_output(name).as_deref(), layout, "{name}");
        }
    }
}
