//! The graphs of the `cpu` target: the model with ONNX Runtime's own operators, in the `step` layout.

mod activation;
mod linear;
mod mlp;
mod vision;

use florence2_layout::graphs::GraphFile;

use super::Recipe;
use crate::checkpoint::Weights;
use crate::error::{Error, Result};
use crate::graph::Graph;

/// Builds one graph of the target. Weights are checked, not read.
pub(super) fn build<'a>(file: GraphFile, recipe: &Recipe<'_>, weights: &Weights<'a>) -> Result<Graph<'a>> {
    let not_in_target = Err(Error::NotInTarget { graph: file.name() });
    match file {
        GraphFile::VisionEncoder => vision::vision_encoder(recipe, weights),
        GraphFile::TextEncoder => not_in_target,
        GraphFile::DecoderStep => not_in_target,
        GraphFile::EmbedTokens
        | GraphFile::EncoderModel
        | GraphFile::DecoderModel
        | GraphFile::DecoderModelMerged
        | GraphFile::DecoderWithPastModel => not_in_target,
    }
}
