//! From DaViT's tokens to image features: positions, pooling, projection.

use crate::checkpoint::Weights;
use crate::config::Grid;
use crate::config::{ImageFeatureSource, VisionConfig};
use crate::error::Result;
use crate::graph::{Graph, Value};
use crate::layers::{Linear, layer_norm};
use crate::lowering::SPATIAL_AVERAGE;
use crate::target::Operators;
use crate::tensor::Tensor;

/// `[batch, tokens, channels]` to `[batch, feature tokens, projection_dim]`.
pub(super) fn projector<'a>(
    graph: &mut Graph<'a>,
    config: &VisionConfig,
    weights: &Weights<'a>,
    grid: Grid,
    tokens: &Value,
) -> Result<Value> {
    let dim = config.embed_dim.last().copied().unwrap_or_default();
    let positions = position_embeddings(config, weights, grid, dim)?;
    let positions = graph.weight(&positions);
    let tokens = graph.add(tokens, &positions);
    let parts: Vec<Value> = config
        .image_feature_source
        .iter()
        .map(|source| match source {
            ImageFeatureSource::SpatialAvgPool => graph.within(&weights.module(SPATIAL_AVERAGE), |graph| {
                let sum = graph.reduce_sum(&tokens, 1);
                let count = graph.scalar(grid.tokens() as f32);
                graph.div(&sum, &count)
            }),
            ImageFeatureSource::TemporalAvgPool | ImageFeatureSource::LastFrame => tokens.clone(),
        })
        .collect();
    let features = match &parts[..] {
        [part] => part.clone(),
        parts => graph.concat(&parts.iter().collect::<Vec<_>>(), 1),
    };
    let projection = Linear::load(&weights.at("image_projection"), dim, config.projection_dim, false)?;
    let features = if graph.lowering.operators == Operators::Custom {
        projection.apply_in_floats(graph, &features)
    } else {
        projection.apply(graph, &features)
    };
    layer_norm(
        graph,
        &weights.at("image_proj_norm"),
        config.projection_dim,
        &features,
    )
}

/// The position embeddings of the tokens, `[1, tokens, channels]`: the learned positions of column and row side by side,
/// plus the temporal position of the first frame.
fn position_embeddings<'a>(
    config: &VisionConfig,
    weights: &Weights<'a>,
    grid: Grid,
    dim: usize,
) -> Result<Tensor<'a>> {
    let row_dim = dim / 2;
    let column_dim = dim - row_dim;
    let positions = weights.at("image_position_embed");
    let rows = positions.tensor(
        "row_embeddings.weight",
        &[config.max_position_embeddings, row_dim],
    )?;
    let columns = positions.tensor(
        "column_embeddings.weight",
        &[config.max_position_embeddings, column_dim],
    )?;
    let name = format!("{}.{}x{}", positions.path("sum"), grid.height, grid.width);
    let temporal = weights
        .at("visual_temporal_embed")
        .optional("pos_idx_to_embed", &[config.max_temporal_embeddings, dim])?
        .unwrap_or_else(|| first_sinusoid(dim));
    Ok(Tensor::new(name, [1, grid.tokens(), dim], move || {
        let (rows, columns, temporal) = (rows.values(), columns.values(), temporal.values());
        let mut sums = Vec::with_capacity(grid.tokens() * dim);
        for row in rows.chunks_exact(row_dim.max(1)).take(grid.height) {
            for column in columns.chunks_exact(column_dim).take(grid.width) {
                let position = column.iter().chain(row);
                sums.extend(
                    position
                        .zip(&temporal)
                        .map(|(position, temporal)| position + temporal),
                );
            }
        }
        sums
    }))
}

/// The first row of the sinusoid table, for checkpoints without it: sin 0 in even channels, cos 0 in odd ones.
fn first_sinusoid<'a>(dim: usize) -> Tensor<'a> {
    Tensor::new("visual_temporal_embed", [1, dim], move || {
        (0..dim).map(|channel| (channel % 2) as f32).collect()
    })
}
