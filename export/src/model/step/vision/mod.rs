//! The vision encoder: DaViT (see [`davit`](crate::model::davit)) for ONNX Runtime on a CPU.

mod block;
mod channel_attention;
mod depthwise;
mod gram;
mod patch_embedding;
mod window_attention;

use crate::checkpoint::Weights;
use crate::error::Result;
use crate::graph::Graph;
use crate::model::davit::Stage;
use crate::model::{PROJECTOR, Recipe, VISION_TOWER, projector};
use block::dual_attention_block;
use patch_embedding::patch_embedding;

/// Pixels to image features: DaViT, then the projection to the text side's width.
pub(super) fn vision_encoder<'a>(recipe: &Recipe<'_>, weights: &Weights<'a>) -> Result<Graph<'a>> {
    let vision = &recipe.config.vision_config;
    // Products of 4 bits are made for few rows, and images have many.
    let precisions = recipe.precisions.at_least_int8();
    crate::model::vision_encoder(recipe.config, recipe.image_size, |graph, grid, pixels| {
        let tower = weights.at(VISION_TOWER);
        let mut x = pixels.clone();
        for stage in Stage::all(vision, recipe.image_size)? {
            x = patch_embedding(graph, &precisions, &stage, &tower, &x)?;
            for block in 0..stage.depth {
                let weights = stage.weights(&tower, block);
                x = dual_attention_block(graph, &precisions, &stage, &weights, &x)?;
            }
        }
        graph.within(PROJECTOR, |graph| {
            projector::projector(graph, vision, &weights.at(PROJECTOR), grid, &x)
        })
    })
}
