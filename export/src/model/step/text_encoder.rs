//! The `step` layout's text encoder: BART's encoder over image features and the prompt, and what the decoder's
//! cross-attention keeps of its result.

use florence2_layout::graphs::{Attention, IMAGE_FEATURES, INPUT_IDS, KeyValue, LAST_HIDDEN_STATE, present};

use super::super::bart::{self, POSITION_OFFSET};
use super::super::layers::{Activation, Linear, layer_norm, split_heads};
use super::super::{Recipe, axes};
use super::attention;
use super::embedding::Embedding;
use super::layer::{Layer, RowCount};
use super::linear::{linear, linear_many};
use crate::checkpoint::Weights;
use crate::config::TextConfig;
use crate::error::Result;
use crate::graph::{Graph, Value};
use crate::precisions::Precisions;
use florence2_layout::onnx::DataType;

/// Prompt ids and image features to hidden states and cross-attention caches.
pub(super) fn text_encoder<'a>(recipe: &Recipe<'_>, weights: &Weights<'a>) -> Result<Graph<'a>> {
    let (text, precisions) = (&recipe.config.text_config, &recipe.precisions);
    let activation = Activation::from_config("text_config.activation_function", &text.activation_function)?;
    let mut graph = Graph::default();
    let dims = [axes::BATCH.into(), axes::TEXT_SEQUENCE.into()];
    let ids = graph.input(INPUT_IDS, DataType::Int64, &dims);
    let dims = [
        axes::BATCH.into(),
        axes::IMAGE_SEQUENCE.into(),
        text.d_model.into(),
    ];
    let features = graph.input(IMAGE_FEATURES, DataType::Float, &dims);

    let embeddings = Embedding::load(text, weights, precisions)?.apply(&mut graph, &ids);
    let x = graph.concat(&[&features, &embeddings], 1);
    let encoder = weights.at(bart::ENCODER);
    let mut x = embed_positions(&mut graph, text, &encoder, &x)?;
    let mut norm = encoder.path("layernorm_embedding");
    for layer in 0..text.encoder_layers {
        let layer = Layer {
            weights: encoder.at(format_args!("layers.{layer}")),
            config: text,
            precisions,
            activation,
            row_count: RowCount::Many,
        };
        let y = recipe.smoothing.input(&mut graph, &norm, &x);
        let y = self_attention(&mut graph, &layer, &y)?;
        x = layer.residual_norm(&mut graph, "self_attn_layer_norm", &x, &y)?;
        let y = recipe
            .smoothing
            .input(&mut graph, &layer.weights.path("self_attn_layer_norm"), &x);
        let y = layer.mlp(&mut graph, text.encoder_ffn_dim, &y)?;
        x = layer.residual_norm(&mut graph, "final_layer_norm", &x, &y)?;
        norm = layer.weights.path("final_layer_norm");
    }
    let dims = [
        axes::BATCH.into(),
        axes::ENCODER_SEQUENCE.into(),
        text.d_model.into(),
    ];
    graph.output(LAST_HIDDEN_STATE, &x, DataType::Float, &dims);
    let states = recipe.smoothing.input(&mut graph, &norm, &x);
    cross_caches(&mut graph, text, precisions, &weights.at(bart::DECODER), &states)?;
    Ok(graph)
}

/// Embeddings plus the positions from the first on, normalised.
fn embed_positions<'a>(
    graph: &mut Graph<'a>,
    config: &TextConfig,
    weights: &Weights<'a>,
    embeddings: &Value,
) -> Result<Value> {
    let table = graph.weight(&bart::position_table(config, weights)?);
    let start = graph.ints(&[POSITION_OFFSET as i64]);
    let length = graph.dim(embeddings, 1);
    let end = graph.add(&start, &length);
    let positions = graph.slice(&table, &start, &end, &[0]);
    let x = graph.add(embeddings, &positions);
    layer_norm(graph, &weights.at("layernorm_embedding"), config.d_model, &x)
}

/// Among all tokens: no row is padded.
fn self_attention<'a>(graph: &mut Graph<'a>, layer: &Layer<'a, '_>, x: &Value) -> Result<Value> {
    let projections = [
        layer.projection("self_attn.q_proj")?,
        layer.projection("self_attn.k_proj")?,
        layer.projection("self_attn.v_proj")?,
    ];
    let is_exact = attention::any_exact(layer.precisions, &projections);
    let [query, key, value] = linear(graph, layer.precisions, projections, x);
    let heads = layer.config.encoder_attention_heads;
    let context = attention::self_attention(graph, is_exact, [&query, &key, &value], heads);
    layer.project(graph, "self_attn.out_proj", &context)
}

/// The outputs for the decoder: keys and values of the hidden states, by all its layers.
fn cross_caches<'a>(
    graph: &mut Graph<'a>,
    config: &TextConfig,
    precisions: &Precisions<'_>,
    decoder: &Weights<'a>,
    states: &Value,
) -> Result<()> {
    let (dim, heads) = (config.d_model, config.decoder_attention_heads);
    let head_size = dim / heads;
    let dims = [
        axes::BATCH.into(),
        heads.into(),
        axes::ENCODER_SEQUENCE.into(),
        head_size.into(),
    ];
    let mut names = Vec::new();
    let mut projections = Vec::new();
    for layer in 0..config.decoder_layers {
        let weights = decoder.at(format_args!("layers.{layer}.encoder_attn"));
        for (kv, projection) in [(KeyValue::Key, "k_proj"), (KeyValue::Value, "v_proj")] {
            names.push(present(layer, Attention::Encoder, kv));
            projections.push(Linear::load(&weights.at(projection), dim, dim, true)?);
        }
    }
    for (name, value) in names
        .iter()
        .zip(linear_many(graph, precisions, projections, states))
    {
        let cache = split_heads(graph, &value, heads, head_size);
        graph.output(name, &cache, DataType::Float, &dims);
    }
    Ok(())
}
