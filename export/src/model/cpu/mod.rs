//! The graphs of the `cpu` target: the model with ONNX Runtime's own operators, in the `step` layout.

mod activation;
mod attention;
mod blocks;
mod decoder_step;
mod embedding;
mod layer;
mod linear;
mod mlp;
mod text_encoder;
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
        GraphFile::TextEncoder => text_encoder::text_encoder(recipe, weights),
        GraphFile::DecoderStep => decoder_step::decoder_step(recipe, weights),
        GraphFile::EmbedTokens
        | GraphFile::EncoderModel
        | GraphFile::DecoderModel
        | GraphFile::DecoderModelMerged
        | GraphFile::DecoderWithPastModel => not_in_target,
    }
}
