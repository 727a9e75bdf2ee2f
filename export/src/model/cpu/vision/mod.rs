//! The vision encoder: DaViT (see [`davit`](crate::model::davit)) for ONNX Runtime on a CPU.

mod block;
mod channel_attention;
mod depthwise;
mod gram;
mod patch_embedding;
mod window_attention;

use florence2_layout::graphs::{IMAGE_FEATURES, PIXEL_VALUES};

use crate::checkpoint::Weights;
use crate::error::Result;
use crate::graph::{Dim, Graph};
use crate::image_size::ImageSize;
use crate::model::davit::Stage;
use crate::model::{Recipe, VISION_TOWER, axes, projector};
use crate::onnx::DataType;
use block::dual_attention_block;
use patch_embedding::patch_embedding;

/// Pixels to image features: DaViT, then the projection to the text side's width.
pub(super) fn vision_encoder<'a>(recipe: &Recipe<'_>, weights: &Weights<'a>) -> Result<Graph<'a>> {
    let vision = &recipe.config.vision_config;
    // Products of 4 bits are made for few rows, and images have many.
    let precisions = recipe.precisions.at_least_int8();
    let ImageSize { height, width } = recipe.image_size;
    let grid = vision.grid(recipe.image_size)?;
    let mut graph = Graph::default();
    let batch = Dim::from(axes::BATCH);
    let dims = [
        batch.clone(),
        vision.in_channels.into(),
        height.into(),
        width.into(),
    ];
    let mut x = graph.input(PIXEL_VALUES, DataType::Float, &dims);
    let tower = weights.at(VISION_TOWER);
    for stage in Stage::all(vision, recipe.image_size)? {
        x = patch_embedding(&mut graph, &precisions, &stage, &tower, &x)?;
        for block in 0..stage.depth {
            let weights = stage.weights(&tower, block);
            x = dual_attention_block(&mut graph, &precisions, &stage, &weights, &x)?;
        }
    }
    let projector = weights.at("model.multi_modal_projector");
    let features = graph.within("model.multi_modal_projector", |graph| {
        projector::projector(graph, vision, &projector, grid, &x)
    })?;
    let dims = [
        batch,
        vision.feature_tokens(grid).into(),
        vision.projection_dim.into(),
    ];
    graph.output(IMAGE_FEATURES, &features, DataType::Float, &dims);
    Ok(graph)
}
