//! BART's decoder with its caches, in the three forms of the layout.

use florence2_layout::graphs::{
    Attention, ENCODER_ATTENTION_MASK, ENCODER_HIDDEN_STATES, INPUTS_EMBEDS, KeyValue, LOGITS,
    USE_CACHE_BRANCH, past, present,
};

use super::super::axes;
use super::super::layers::{Activation, mlp};
use super::decoder_layer::{Cache, CrossSource, Decoder};
use super::{additive_mask, embed_positions, output_projection};
use crate::checkpoint::Weights;
use crate::config::ModelConfig;
use crate::error::Result;
use crate::graph::{Dim, Graph, Value};
use crate::onnx::DataType;

/// What a decoder graph takes and gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DecoderKind {
    /// No past in, all caches out.
    First,
    /// Past in; cross-attention caches from the encoder's states, or with `use_cache_branch` from the past.
    Merged,
    /// Past in, self-attention caches out.
    WithPast,
}

/// Embeddings of new tokens to logits.
pub(crate) fn decoder<'a>(
    config: &ModelConfig,
    weights: &Weights<'a>,
    kind: DecoderKind,
) -> Result<Graph<'a>> {
    let text = &config.text_config;
    let decoder_weights = weights.at("model.language_model.decoder");
    let activation = Activation::from_config("text_config.activation_function", &text.activation_function)?;
    let dim = text.d_model;
    let head_size = dim / text.decoder_attention_heads;
    let mut graph = Graph::default();

    // Cross-attention broadcasts: the rows of a batch may share one encoder row.
    let encoder_dims = [axes::ENCODER_BATCH.into(), axes::ENCODER_SEQUENCE.into()];
    let encoder_mask = graph.input(ENCODER_ATTENTION_MASK, DataType::Int64, &encoder_dims);
    let states = (kind != DecoderKind::WithPast).then(|| {
        let [batch, sequence] = encoder_dims;
        graph.input(
            ENCODER_HIDDEN_STATES,
            DataType::Float,
            &[batch, sequence, dim.into()],
        )
    });
    let dims = [axes::BATCH.into(), axes::DECODER_SEQUENCE.into()];
    let [batch, sequence] = dims.clone();
    let embeddings = graph.input(INPUTS_EMBEDS, DataType::Float, &[batch, sequence, dim.into()]);
    let mut self_past = Vec::new();
    let mut cross_past = Vec::new();
    if kind != DecoderKind::First {
        let heads = text.decoder_attention_heads;
        let mut caches = |layer, attention, batch: &'static str, length: &'static str| {
            let dims: [Dim; 4] = [batch.into(), heads.into(), length.into(), head_size.into()];
            let mut cache = |kv| graph.input(&past(layer, attention, kv), DataType::Float, &dims);
            Cache {
                key: cache(KeyValue::Key),
                value: cache(KeyValue::Value),
            }
        };
        for layer in 0..text.decoder_layers {
            self_past.push(caches(
                layer,
                Attention::Decoder,
                axes::BATCH,
                axes::PAST_SEQUENCE,
            ));
            let (batch, length) = (axes::PAST_ENCODER_BATCH, axes::PAST_ENCODER_SEQUENCE);
            cross_past.push(caches(layer, Attention::Encoder, batch, length));
        }
    }
    let cross_source = match states {
        None => CrossSource::Past { caches: cross_past },
        Some(states) if kind == DecoderKind::First => CrossSource::Encoder { states },
        Some(states) => {
            let use_past = graph.input(USE_CACHE_BRANCH, DataType::Bool, &[1.into()]);
            CrossSource::Either {
                use_past,
                states,
                caches: cross_past,
            }
        }
    };

    let past_length = self_past.first().map(|cache| graph.dim(&cache.key, 2));
    let x = embed_positions(
        &mut graph,
        text,
        &decoder_weights,
        &embeddings,
        past_length.as_ref(),
    )?;
    let causal_mask = causal_mask(&mut graph, &embeddings, past_length.as_ref());
    let cross_mask = additive_mask(&mut graph, &encoder_mask);
    let mut decoder = Decoder {
        graph: &mut graph,
        config: text,
        causal_mask,
        cross_mask,
        past: self_past,
        cross_source,
    };
    let mut x = x;
    let mut present_caches = Vec::with_capacity(text.decoder_layers);
    for layer in 0..text.decoder_layers {
        let weights = decoder_weights.at(format_args!("layers.{layer}"));
        let (y, self_cache) = decoder.self_attention(&weights.at("self_attn"), layer, &x)?;
        x = decoder.residual_norm(&weights.at("self_attn_layer_norm"), &x, &y)?;
        let (y, cross_cache) = decoder.cross_attention(&weights.at("encoder_attn"), layer, &x)?;
        x = decoder.residual_norm(&weights.at("encoder_attn_layer_norm"), &x, &y)?;
        let y = mlp(decoder.graph, &weights, dim, text.decoder_ffn_dim, activation, &x)?;
        x = decoder.residual_norm(&weights.at("final_layer_norm"), &x, &y)?;
        present_caches.push((self_cache, cross_cache));
    }
    let logits = logits(&mut graph, config, weights, &x)?;

    let [batch, sequence] = dims;
    graph.output(
        LOGITS,
        &logits,
        DataType::Float,
        &[batch, sequence, text.vocab_size.into()],
    );
    for (layer, (self_cache, cross_cache)) in present_caches.iter().enumerate() {
        let mut caches = |cache: &Cache, attention, batch: &'static str, length: &'static str| {
            let dims: [Dim; 4] = [
                batch.into(),
                text.decoder_attention_heads.into(),
                length.into(),
                head_size.into(),
            ];
            graph.output(
                &present(layer, attention, KeyValue::Key),
                &cache.key,
                DataType::Float,
                &dims,
            );
            graph.output(
                &present(layer, attention, KeyValue::Value),
                &cache.value,
                DataType::Float,
                &dims,
            );
        };
        caches(self_cache, Attention::Decoder, axes::BATCH, axes::TOTAL_SEQUENCE);
        if let Some(cache) = cross_cache {
            caches(
                cache,
                Attention::Encoder,
                axes::PRESENT_ENCODER_BATCH,
                axes::PRESENT_ENCODER_SEQUENCE,
            );
        }
    }
    Ok(graph)
}

/// What keeps a token from attending to later ones, `[sequence, past + sequence]`: 0 and the least float.
fn causal_mask(graph: &mut Graph<'_>, embeddings: &Value, past: Option<&Value>) -> Value {
    let zero = graph.int(0);
    let start = past.map_or(zero.clone(), |past| graph.squeeze(past));
    let length = graph.dim(embeddings, 1);
    let length = graph.squeeze(&length);
    let end = graph.add(&start, &length);
    let queries = graph.range(&start, &end);
    let queries = graph.unsqueeze(&queries, &[1]);
    let keys = graph.range(&zero, &end);
    let later = graph.node("Greater", &[&keys, &queries], &[]);
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
    let projection = graph.weight(&projection);
    let logits = graph.matmul(x, &projection);
    let bias = weights.optional("final_logits_bias", &[1, config.text_config.vocab_size])?;
    // Published checkpoints carry one of zeros.
    match bias.filter(|bias| bias.values().iter().any(|&value| value != 0.0)) {
        Some(bias) => {
            let bias = graph.weight(&bias);
            Ok(graph.add(&logits, &bias))
        }
        None => Ok(logits),
    }
}
