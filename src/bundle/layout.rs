//! Which graphs a bundle has, and which of them make a model.

use std::collections::BTreeMap;

use florence2_layout::graphs::{EXTENSION, FOLDER, GraphFile};

use super::source::{BundleSource, GraphBytes};
use crate::error::{Error, Result};

/// The graphs with which a decoder takes its first and its further steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecoderGraphs {
    /// One graph for both, told apart by `use_cache_branch`.
    Merged,
    /// `decoder_model` first, then `decoder_with_past_model`.
    Split,
}

impl DecoderGraphs {
    /// All combinations in use, best first: a single graph holds the decoder's weights once.
    const ALL: [DecoderGraphs; 2] = [DecoderGraphs::Merged, DecoderGraphs::Split];

    /// The graphs of the first step and of the further ones.
    pub const fn graphs(self) -> (GraphFile, GraphFile) {
        match self {
            DecoderGraphs::Merged => (GraphFile::DecoderModelMerged, GraphFile::DecoderModelMerged),
            DecoderGraphs::Split => (GraphFile::DecoderModel, GraphFile::DecoderWithPastModel),
        }
    }
}

/// The graphs found in a bundle.
#[derive(Debug, Clone)]
pub struct GraphLayout {
    /// The file of each graph, as a path inside the bundle.
    pub files: BTreeMap<GraphFile, String>,
}

impl GraphLayout {
    /// Looks for the graphs in `onnx/` and beside the configuration.
    pub fn find(source: &BundleSource) -> Self {
        let file = |graph: GraphFile| {
            let name = format!("{}{EXTENSION}", graph.name());
            let found = [format!("{FOLDER}/{name}"), name]
                .into_iter()
                .find(|path| source.graph(path).is_some())?;
            Some((graph, found))
        };
        Self {
            files: GraphFile::ALL.into_iter().filter_map(file).collect(),
        }
    }

    /// The decoder graphs to use, if ONNX Runtime takes them: the first of [`decoders`](Self::decoders).
    pub fn decoder(&self) -> Option<DecoderGraphs> {
        self.decoders().next()
    }

    /// All decoder graphs that could be used, best first.
    pub fn decoders(&self) -> impl Iterator<Item = DecoderGraphs> {
        DecoderGraphs::ALL.into_iter().filter(|combination| {
            let (first, next) = combination.graphs();
            self.files.contains_key(&first) && self.files.contains_key(&next)
        })
    }

    /// What is missing for a whole model, in words; empty if nothing is.
    pub fn missing(&self) -> Vec<String> {
        let single = [
            GraphFile::VisionEncoder,
            GraphFile::EmbedTokens,
            GraphFile::EncoderModel,
        ];
        let mut missing: Vec<String> = single
            .into_iter()
            .filter(|graph| !self.files.contains_key(graph))
            .map(|graph| format!("{}{EXTENSION}", graph.name()))
            .collect();
        if self.decoder().is_none() {
            missing.push(format!(
                "{merged}{EXTENSION} (or {first}{EXTENSION} and {next}{EXTENSION})",
                merged = GraphFile::DecoderModelMerged.name(),
                first = GraphFile::DecoderModel.name(),
                next = GraphFile::DecoderWithPastModel.name(),
            ));
        }
        missing
    }

    pub(crate) fn graph(&self, source: &BundleSource, graph: GraphFile) -> Result<GraphBytes> {
        self.files
            .get(&graph)
            .and_then(|file| source.graph(file))
            .ok_or_else(|| Error::InvalidBundle {
                path: source.path(""),
                reason: format!("{FOLDER}/{}{EXTENSION} is missing", graph.name()),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(graphs: &[GraphFile]) -> GraphLayout {
        let files = graphs
            .iter()
            .map(|graph| (format!("onnx/{}.onnx", graph.name()), vec![].into()))
            .collect();
        GraphLayout::find(&BundleSource::Memory {
            name: "test".into(),
            files,
        })
    }

    #[test]
    fn decoder_combinations() {
        use GraphFile::{DecoderModel, DecoderModelMerged, DecoderWithPastModel};
        assert_eq!(layout(&GraphFile::PLAIN).decoder(), Some(DecoderGraphs::Merged));
        assert_eq!(layout(&GraphFile::PLAIN).decoders().count(), 2);
        assert_eq!(
            layout(&[DecoderModelMerged]).decoder(),
            Some(DecoderGraphs::Merged)
        );
        assert_eq!(
            layout(&[DecoderModel, DecoderWithPastModel]).decoder(),
            Some(DecoderGraphs::Split)
        );
        assert_eq!(layout(&[DecoderModel]).decoder(), None);
    }

    #[test]
    fn what_is_missing_is_named() {
        assert!(layout(&GraphFile::PLAIN).missing().is_empty());
        let missing = layout(&[GraphFile::VisionEncoder, GraphFile::DecoderModel])
            .missing()
            .join("\n");
        for name in [
            "embed_tokens.onnx",
            "encoder_model.onnx",
            "decoder_model_merged.onnx",
            "decoder_with_past_model.onnx",
        ] {
            assert!(missing.contains(name), "{missing}");
        }
        assert!(!missing.contains("vision_encoder"), "{missing}");
    }
}
