//! Parsing of graphs' file names, including those of older exports.

use crate::dtypes::Dtype;
use crate::graphs::{EXTENSION, GraphFile};

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
    /// Parses a file name: `decoder_model_merged_q4.onnx`, or in older exports, with a prefix, hyphens and [shorter
    /// names](GraphFile::older_name), `base-decoder-merged-f16.onnx`. Returns `None` if it is not the name of a
    /// graph's file.
    pub fn parse(file_name: &'n str) -> Option<Self> {
        let stem = file_name.strip_suffix(EXTENSION)?;
        let with_underscores = stem.replace('-', "_");
        let (ending, graph, dtype) = endings()
            .filter(|(ending, ..)| is_end_of(ending, &with_underscores))
            .max_by_key(|(ending, ..)| ending.len())?;
        Some(GraphFileName {
            prefix: stem.get(..stem.len() - ending.len())?,
            graph,
            dtype,
        })
    }
}

/// Returns every ending of a file name, with the graph and the dtype that it means.
fn endings() -> impl Iterator<Item = (String, GraphFile, Dtype)> {
    GraphFile::ALL.into_iter().flat_map(|graph| {
        let names = [Some(graph.name()), graph.older_name()];
        names.into_iter().flatten().flat_map(move |name| {
            Dtype::BY_PREFERENCE.into_iter().flat_map(move |dtype| {
                let suffixes = [Some(dtype.suffix()), dtype.older_suffix()];
                suffixes
                    .into_iter()
                    .flatten()
                    .map(move |suffix| (format!("{name}{suffix}"), graph, dtype))
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

    #[test]
    fn every_graph_is_read_in_every_type() {
        for graph in GraphFile::ALL {
            for dtype in Dtype::BY_PREFERENCE {
                for prefix in ["", "base-", "florence2_large_", "v2."] {
                    let name = format!("{prefix}{}", graph.file_name(dtype));
                    let read = GraphFileName::parse(&name);
                    assert_eq!(read, Some(GraphFileName { prefix, graph, dtype }), "{name}");
                }
            }
        }
    }

    #[test]
    fn older_names_are_read() {
        for (name, prefix, graph, dtype) in [
            (
                "base-vision-encoder.onnx",
                "base-",
                GraphFile::VisionEncoder,
                Dtype::Fp32,
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
            let read = GraphFileName::parse(name);
            assert_eq!(read, Some(GraphFileName { prefix, graph, dtype }), "{name}");
        }
    }

    #[test]
    fn other_files_are_none() {
        for name in [
            "model.onnx",
            "vision_encoder.onnx_data",
            "vision_encoder",
            "supervision_encoders.onnx",
            "xencoder_model.onnx",
            ".onnx",
        ] {
            assert_eq!(GraphFileName::parse(name), None, "{name}");
        }
    }
}
