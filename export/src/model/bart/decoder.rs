//! The three decoder graphs of the plain layout.

use florence2_layout::graphs::Attention;

use super::decoder_attention::DecoderAttention;
use super::decoder_io::{DecoderKind, Inputs, declare_outputs};
use super::layer::decoder_layers;
use super::{embed_positions, embedding};
use crate::checkpoint::Weights;
use crate::checkpoint::paths::DECODER;
use crate::config::ModelConfig;
use crate::error::Result;
use crate::graph::{Graph, Value};
use crate::layers::additive_mask;

/// Embeddings of new tokens to logits.
pub(crate) fn decoder<'a>(
    mut graph: Graph<'a>,
    config: &ModelConfig,
    weights: &Weights<'a>,
    kind: DecoderKind,
) -> Result<Graph<'a>> {
    let text = &config.text_config;
    let inputs = Inputs::declare(&mut graph, text, kind);
    let past = inputs.past.first().map(|cache| graph.dim(&cache.key, 2));
    let decoder = weights.at(DECODER);
    let x = embed_positions(&mut graph, text, &decoder, &inputs.embeddings, past.as_ref())?;
    let attention = DecoderAttention {
        causal_mask: causal_mask(&mut graph, &inputs.embeddings, past.as_ref()),
        cross_attention_mask: additive_mask(&mut graph, &inputs.encoder_mask),
        past: inputs.past,
        cross_attention_source: inputs.cross_attention_source,
    };
    let (mut self_caches, mut cross_caches) = (Vec::new(), Vec::new());
    let x = decoder_layers(&mut graph, text, &decoder, x, |graph, layer, index, side, x| {
        if side == Attention::Decoder {
            let (y, cache) = attention.self_attention(graph, layer, index, x)?;
            self_caches.push(cache);
            Ok(y)
        } else {
            let (y, cache) = attention.cross_attention(graph, layer, index, x)?;
            cross_caches.extend(cache);
            Ok(y)
        }
    })?;
    let projection = match embedding::own_output_matrix(config, weights)? {
        Some(own) => own,
        None => embedding::matrix(text, weights)?,
    };
    let logits = embedding::output_layer(projection).apply(&mut graph, &x);
    let logits = embedding::add_logits_bias(&mut graph, text, weights, logits)?;
    declare_outputs(&mut graph, text, &logits, &self_caches, &cross_caches);
    Ok(graph)
}

/// The term of scores that keeps tokens from attending to later ones, `[sequence, past + sequence]`: 0 or the least float.
fn causal_mask(graph: &mut Graph<'_>, embeddings: &Value, past: Option<&Value>) -> Value {
    let zero = graph.int(0);
    let start = past.map_or(zero.clone(), |past| graph.squeeze(past));
    let length = graph.dim(embeddings, 1);
    let length = graph.squeeze(&length);
    let end = graph.add(&start, &length);
    let one = graph.int(1);
    let queries = graph.range([&start, &end, &one]);
    let queries = graph.unsqueeze(&queries, &[1]);
    let keys = graph.range([&zero, &end, &one]);
    let later = graph.greater(&keys, &queries);
    let later = graph.cast_to_float(&later);
    let least = graph.scalar(f32::MIN);
    graph.mul(&later, &least)
}
