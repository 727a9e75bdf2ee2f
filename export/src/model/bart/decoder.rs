//! BART's decoder with its caches, in the three forms of the layout.

use super::super::layers::{Activation, mlp};
use super::decoder_io::{DecoderKind, Inputs, declare_outputs};
use super::decoder_layer::DecoderLayers;
use super::{DECODER, OUTPUT_MODULE, additive_mask, embed_positions, logits_bias, output_projection};
use crate::checkpoint::Weights;
use crate::config::ModelConfig;
use crate::error::Result;
use crate::graph::{Graph, Value};
use crate::target::Operators;

/// Embeddings of new tokens to logits.
pub(crate) fn decoder<'a>(
    config: &ModelConfig,
    weights: &Weights<'a>,
    kind: DecoderKind,
) -> Result<Graph<'a>> {
    let text = &config.text_config;
    let activation = Activation::from_config("text_config.activation_function", &text.activation_function)?;
    let mut graph = Graph::default();
    let inputs = Inputs::declare(&mut graph, text, kind);
    let past = inputs.past.first().map(|cache| graph.dim(&cache.key, 2));
    let decoder = weights.at(DECODER);
    let mut x = embed_positions(&mut graph, text, &decoder, &inputs.embeddings, past.as_ref())?;
    let mut layers = DecoderLayers {
        config: text,
        causal_mask: causal_mask(&mut graph, &inputs.embeddings, past.as_ref()),
        cross_mask: additive_mask(&mut graph, &inputs.encoder_mask),
        past: inputs.past,
        cross_source: inputs.cross_source,
        graph: &mut graph,
    };
    let mut presents = Vec::with_capacity(text.decoder_layers);
    for layer in 0..text.decoder_layers {
        let weights = decoder.at(format_args!("layers.{layer}"));
        let (y, self_cache) = layers.self_attention(&weights.at("self_attn"), layer, &x)?;
        x = layers.residual_norm(&weights.at("self_attn_layer_norm"), &x, &y)?;
        let (y, cross_cache) = layers.cross_attention(&weights.at("encoder_attn"), layer, &x)?;
        x = layers.residual_norm(&weights.at("encoder_attn_layer_norm"), &x, &y)?;
        let y = mlp(
            layers.graph,
            &weights,
            text.d_model,
            text.decoder_ffn_dim,
            activation,
            Operators::Standard,
            &x,
        )?;
        x = layers.residual_norm(&weights.at("final_layer_norm"), &x, &y)?;
        presents.push((self_cache, cross_cache));
    }
    let logits = logits(&mut graph, config, weights, &x)?;
    declare_outputs(&mut graph, text, &logits, &presents);
    Ok(graph)
}

/// What keeps a token from attending to later ones, `[sequence, past + sequence]`: 0 and the least float.
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

/// Scores of every token of the vocabulary, before any softmax.
fn logits<'a>(
    graph: &mut Graph<'a>,
    config: &ModelConfig,
    weights: &Weights<'a>,
    x: &Value,
) -> Result<Value> {
    let projection = output_projection(config, weights)?;
    let logits = graph.within(OUTPUT_MODULE, |graph| {
        let projection = graph.weight(&projection);
        graph.matmul(x, &projection)
    });
    match logits_bias(&config.text_config, weights)? {
        Some(bias) => {
            let bias = graph.weight(&bias);
            Ok(graph.add(&logits, &bias))
        }
        None => Ok(logits),
    }
}
