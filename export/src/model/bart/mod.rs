//! BART (*Denoising Sequence-to-Sequence Pre-training*, Lewis et al., 2019): post-norm Transformer encoder and
//! decoder over shared embeddings, with learned positions.

mod decoder;
mod decoder_attention;
mod decoder_io;
mod decoder_step;
mod embedding;
mod encoder;
mod layer;

use crate::checkpoint::Weights;
use crate::config::TextConfig;
use crate::error::Result;
use crate::graph::{Graph, Value};
use crate::layers::layer_norm;
use crate::tensor::Tensor;

pub(crate) use decoder::decoder;
pub(crate) use decoder_io::DecoderKind;
pub(crate) use decoder_step::decoder_step;
pub(crate) use embedding::embed_tokens;
pub(crate) use encoder::{encoder, text_encoder};

/// The number of rows at the beginning of BART's position tables that no token uses.
const POSITION_OFFSET: usize = 2;

/// The learned positions of the encoder or decoder that `weights` belongs to, `[POSITION_OFFSET + positions,
/// d_model]`.
fn position_table<'a>(config: &TextConfig, weights: &Weights<'a>) -> Result<Tensor<'a>> {
    let rows = config.max_position_embeddings + POSITION_OFFSET;
    weights.tensor("embed_positions.weight", &[rows, config.d_model])
}

/// The norm of embeddings plus the positions `past..past + sequence`; `past` is a vector of one integer, 0 if absent.
fn embed_positions<'a>(
    graph: &mut Graph<'a>,
    config: &TextConfig,
    weights: &Weights<'a>,
    embeddings: &Value,
    past: Option<&Value>,
) -> Result<Value> {
    let table = graph.weight(&position_table(config, weights)?);
    let offset = graph.ints(&[POSITION_OFFSET as i64]);
    let start = match past {
        Some(past) => graph.add(past, &offset),
        None => offset,
    };
    let length = graph.dim(embeddings, 1);
    let end = graph.add(&start, &length);
    let positions = graph.slice(&table, &start, &end, &[0]);
    let x = graph.add(embeddings, &positions);
    layer_norm(graph, &weights.at("layernorm_embedding"), config.d_model, &x)
}
