//! BART's encoder over image features and the prompt: the graph of each layout.

use florence2_layout::graphs::{
    ATTENTION_MASK, Attention, IMAGE_FEATURES, INPUT_IDS, INPUTS_EMBEDS, KeyValue, LAST_HIDDEN_STATE, present,
};
use florence2_layout::onnx::DataType;

use super::decoder_io::cache_dims;
use super::layer::encoder_layers;
use super::{embed_positions, embedding};
use crate::checkpoint::Weights;
use crate::checkpoint::paths::{DECODER, ENCODER};
use crate::config::TextConfig;
use crate::error::Result;
use crate::graph::{Graph, Value};
use crate::layers::{Linear, LinearInput, additive_mask, split_heads};
use crate::model::axes;

/// The plain layout's graph from embeddings to hidden states.
pub(crate) fn encoder<'a>(
    mut graph: Graph<'a>,
    text: &TextConfig,
    weights: &Weights<'a>,
) -> Result<Graph<'a>> {
    let weights = weights.at(ENCODER);
    let [batch, sequence] = [axes::BATCH, axes::ENCODER_SEQUENCE];
    let mask = graph.input(ATTENTION_MASK, DataType::Int64, &[batch.into(), sequence.into()]);
    let dims = [batch.into(), sequence.into(), text.d_model.into()];
    let embeddings = graph.input(INPUTS_EMBEDS, DataType::Float, &dims);
    let mask = additive_mask(&mut graph, &mask);
    let x = embed_positions(&mut graph, text, &weights, &embeddings, None)?;
    let x = encoder_layers(&mut graph, text, &weights, x, Some(&mask))?;
    graph.output(LAST_HIDDEN_STATE, &x, &dims);
    Ok(graph)
}

/// The fused layout's graph from prompt ids and image features to hidden states and cross-attention caches. No row is
/// padded.
pub(crate) fn text_encoder<'a>(
    mut graph: Graph<'a>,
    text: &TextConfig,
    weights: &Weights<'a>,
) -> Result<Graph<'a>> {
    let dims = [axes::BATCH.into(), axes::TEXT_SEQUENCE.into()];
    let ids = graph.input(INPUT_IDS, DataType::Int64, &dims);
    let dims = |sequence: &'static str| [axes::BATCH.into(), sequence.into(), text.d_model.into()];
    let features = graph.input(IMAGE_FEATURES, DataType::Float, &dims(axes::IMAGE_SEQUENCE));

    let table = embedding::checked_matrix(text, weights)?;
    let embeddings = embedding::embed(&mut graph, text, &table, false, &ids);
    let x = graph.concat(&[&features, &embeddings], 1);
    let encoder = weights.at(ENCODER);
    let x = embed_positions(&mut graph, text, &encoder, &x, None)?;
    let x = encoder_layers(&mut graph, text, &encoder, x, None)?;
    graph.output(LAST_HIDDEN_STATE, &x, &dims(axes::ENCODER_SEQUENCE));
    cross_attention_caches(&mut graph, text, &weights.at(DECODER), &x)?;
    Ok(graph)
}

/// Adds the cross-attention cache outputs: keys and values of the hidden states for all layers of the decoder.
fn cross_attention_caches<'a>(
    graph: &mut Graph<'a>,
    text: &TextConfig,
    decoder: &Weights<'a>,
    states: &Value,
) -> Result<()> {
    let (dim, heads) = (text.d_model, text.decoder_attention_heads);
    let dims = cache_dims(text, axes::BATCH, axes::ENCODER_SEQUENCE);
    let mut names = Vec::new();
    let mut projections = Vec::new();
    for layer in 0..text.decoder_layers {
        let weights = decoder.at(format_args!("layers.{layer}.encoder_attn"));
        for (kv, projection) in [(KeyValue::Key, "k_proj"), (KeyValue::Value, "v_proj")] {
            names.push(present(layer, Attention::Encoder, kv));
            projections.push(Linear::load(&weights.at(projection), dim, dim, true)?);
        }
    }
    let states = LinearInput::new(graph, &projections, states);
    for (name, projection) in names.iter().zip(&projections) {
        let cache = states.apply(graph, projection);
        let cache = split_heads(graph, &cache, heads, dim / heads);
        graph.output(name, &cache, &dims);
    }
    Ok(())
}
