//! The graphs of the `step` layout: the model with ONNX Runtime's own operators and, on a CPU, ours.

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

use super::{Recipe, davit_encoder};
use crate::checkpoint::Weights;
use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::target::Operators;

/// Builds one graph of a target of this layout. Weights are checked, not read.
pub(super) fn build<'a>(file: GraphFile, recipe: &Recipe<'_>, weights: &Weights<'a>) -> Result<Graph<'a>> {
    let not_in_target = Err(Error::NotInTarget { graph: file.name() });
    match file {
        GraphFile::VisionEncoder => match recipe.operators() {
            Operators::Own => vision::vision_encoder(recipe, weights),
            Operators::Standard | Operators::Contrib => davit_encoder(recipe, weights),
        },
        GraphFile::TextEncoder => text_encoder::text_encoder(recipe, weights),
        GraphFile::DecoderStep => decoder_step::decoder_step(recipe, weights),
        GraphFile::EmbedTokens
        | GraphFile::EncoderModel
        | GraphFile::DecoderModel
        | GraphFile::DecoderModelMerged
        | GraphFile::DecoderWithPastModel => not_in_target,
    }
}
