//! Parsing of graphs' file names.

use crate::dtypes::Dtype;
use crate::graphs::{EXTENSION, GraphFile, ORT_EXTENSION};
use crate::names::DeploymentNames;

/// The parts of a graph's file name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GraphFileName<'n> {
    /// The text before the graph's name, including the separator (`base-`); usually empty. Files with the same prefix belong
    /// together.
    pub prefix: &'n str,
    /// The graph that the file has by its name.
    pub graph: GraphFile,
    /// The dtype of the graph's weights.
    pub dtype: Dtype,
}

impl<'n> GraphFileName<'n> {
    /// Parses a file name by `names` and the [built-in tables](DeploymentNames::built_in): `decoder_model_merged_q4.onnx`,
    /// or with a prefix and hyphens, `base-decoder-merged-f16.onnx`. The longest name that fits is the one meant. Returns
    /// `None` if it is not the name of a graph's file.
    pub fn parse(file_name: &'n str, names: &DeploymentNames) -> Option<Self> {
        let stem = [EXTENSION, ORT_EXTENSION]
            .iter()
            .find_map(|extension| file_name.strip_suffix(extension))?;
        let with_underscores = stem.replace('-', "_");
        let (ending, graph, dtype) = endings(names)
            .filter(|(ending, ..)| is_end_of(ending, &with_underscores))
            // Of equal ones, the last: the table's.
            .max_by_key(|(ending, ..)| ending.len())?;
        Some(GraphFileName {
            prefix: stem.get(..stem.len() - ending.len())?,
            graph,
            dtype,
        })
    }
}

/// Returns every ending of a file name, with the graph and the dtype that it means.
fn endings(names: &DeploymentNames) -> impl Iterator<Item = (String, GraphFile, Dtype)> {
    let tables = DeploymentNames::built_in().iter().chain([names]);
    let graphs = tables.flat_map(|table| &table.graphs);
    graphs.flat_map(|(&graph, names)| {
        names.stems().flat_map(move |name| {
            let name = name.replace('-', "_");
            Dtype::BY_PREFERENCE.into_iter().flat_map(move |dtype| {
                let suffixes = [Some(dtype.suffix()), dtype.older_suffix()];
                suffixes
                    .into_iter()
                    .flatten()
                    .map(|suffix| (format!("{name}{suffix}"), graph, dtype))
                    .collect::<Vec<_>>()
            })
        })
    })
}

/// Returns whether `name` ends in `ending` and that begins a word.
fn is_end_of(ending: &str, name: &str) -> bool {
    name.strip_suffix(ending)
        .is_some_and(|prefix| prefix.is_empty() || prefix.ends_with(['_', '.']))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(name: &str) -> Option<GraphFileName<'_>> {
        GraphFileName::parse(name, &DeploymentNames::default())
    }

    #[test]
    fn every_graph_is_read_in_every_type() {
        for graph in GraphFile::ALL {
            for dtype in Dtype::BY_PREFERENCE {
                for prefix in ["", "base-", "florence2_large_", "v2."] {
                    let name = format!("{prefix}{}", graph.file_name(dtype));
                    for name in [name.replace(".onnx", ".ort"), name] {
                        let read = parse(&name);
                        assert_eq!(read, Some(GraphFileName { prefix, graph, dtype }), "{name}");
                    }
                }
            }
        }
    }

    #[test]
    fn names_of_other_origins_are_read() {
        for (name, prefix, graph, dtype) in [
            (
                "base-vision-encoder.onnx",
                "base-",
                GraphFile::VisionEncoder,
                Dtype::Fp32,
            ),
            (
                "base-ft-vision-encoder-dyn.onnx",
                "base-ft-",
                GraphFile::VisionEncoder,
                Dtype::Fp32,
            ),
            (
                "large-decoder-merged-dyn-f16.onnx",
                "large-",
                GraphFile::DecoderModelMerged,
                Dtype::Fp16,
            ),
            (
                "vision_encoder_model.onnx",
                "",
                GraphFile::VisionEncoder,
                Dtype::Fp32,
            ),
            (
                "language_model_encoder_int8.onnx",
                "",
                GraphFile::EncoderModel,
                Dtype::Int8,
            ),
            (
                "base-embed-tokens-f16.onnx",
                "base-",
                GraphFile::EmbedTokens,
                Dtype::Fp16,
            ),
            (
                "base-encoder-f16.onnx",
                "base-",
                GraphFile::EncoderModel,
                Dtype::Fp16,
            ),
            ("encoder.onnx", "", GraphFile::EncoderModel, Dtype::Fp32),
            (
                "florence2-base-decoder.onnx",
                "florence2-base-",
                GraphFile::DecoderModel,
                Dtype::Fp32,
            ),
            (
                "base-decoder-merged-q4.onnx",
                "base-",
                GraphFile::DecoderModelMerged,
                Dtype::Q4,
            ),
            (
                "decoder-with-past.onnx",
                "",
                GraphFile::DecoderWithPastModel,
                Dtype::Fp32,
            ),
        ] {
            let read = parse(name);
            assert_eq!(read, Some(GraphFileName { prefix, graph, dtype }), "{name}");
        }
    }

    #[test]
    fn a_table_of_names_comes_first() {
        let json = r#"{"text_encoder": {"files": ["my-text"]}, "encoder_model": {"files": ["decoder"]}}"#;
        let names: DeploymentNames = serde_json::from_str(json).unwrap();
        for (name, graph) in [
            ("my_text_q4.onnx", GraphFile::TextEncoder),
            ("decoder_q4.onnx", GraphFile::EncoderModel),
            ("decoder_model_q4.onnx", GraphFile::DecoderModel),
        ] {
            let read = GraphFileName::parse(name, &names).unwrap();
            assert_eq!((read.graph, read.dtype), (graph, Dtype::Q4), "{name}");
        }
    }

    #[test]
    fn other_files_are_none() {
        for name in [
            "model.onnx",
            "vision_encoder.onnx_data",
            "vision_encoder",
            "VisionEncoder.ONNX",
            "supervision_encoders.onnx",
            "xencoder_model.onnx",
            ".onnx",
        ] {
            assert_eq!(parse(name), None, "{name}");
        }
    }
}
