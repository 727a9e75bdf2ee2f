//! BART's encoder, over image features and prompt embeddings.

use florence2_layout::graphs::{ATTENTION_MASK, INPUTS_EMBEDS, LAST_HIDDEN_STATE};

use super::super::axes;
use super::super::layers::{Activation, attention, layer_norm, merge_heads, mlp, split_heads};
use super::{ENCODER, additive_mask, embed_positions, projection, query_projection};
use crate::checkpoint::Weights;
use crate::config::TextConfig;
use crate::error::Result;
use crate::graph::{Graph, Value};
use crate::target::Operators;
use florence2_layout::onnx::DataType;

/// Embeddings to hidden states.
pub(crate) fn encoder<'a>(config: &TextConfig, weights: &Weights<'a>) -> Result<Graph<'a>> {
    let weights = weights.at(ENCODER);
    let activation = Activation::from_config("text_config.activation_function", &config.activation_function)?;
    let dim = config.d_model;
    let mut graph = Graph::default();
    let mask_dims = [axes::BATCH.into(), axes::ENCODER_SEQUENCE.into()];
    let dims = [axes::BATCH.into(), axes::ENCODER_SEQUENCE.into(), dim.into()];
    let mask = graph.input(ATTENTION_MASK, DataType::Int64, &mask_dims);
    let embeddings = graph.input(INPUTS_EMBEDS, DataType::Float, &dims);
    let mask = additive_mask(&mut graph, &mask);
    let mut x = embed_positions(&mut graph, config, &weights, &embeddings, None)?;
    for layer in 0..config.encoder_layers {
        let weights = weights.at(format_args!("layers.{layer}"));
        let y = self_attention(&mut graph, config, &weights.at("self_attn"), &x, &mask)?;
        let sum = graph.add(&x, &y);
        x = layer_norm(&mut graph, &weights.at("self_attn_layer_norm"), dim, &sum)?;
        let y = mlp(
            &mut graph,
            &weights,
            dim,
            config.encoder_ffn_dim,
            activation,
            Operators::Standard,
            &x,
        )?;
        let sum = graph.add(&x, &y);
        x = layer_norm(&mut graph, &weights.at("final_layer_norm"), dim, &sum)?;
    }
    graph.output(LAST_HIDDEN_STATE, &x, DataType::Float, &dims);
    Ok(graph)
}

fn self_attention<'a>(
    graph: &mut Graph<'a>,
    config: &TextConfig,
    weights: &Weights<'a>,
    x: &Value,
    mask: &Value,
) -> Result<Value> {
    let (dim, heads) = (config.d_model, config.encoder_attention_heads);
    let head_size = dim / heads;
    let projections = [
        query_projection(weights, dim, head_size)?,
        projection(weights, "k_proj", dim)?,
        projection(weights, "v_proj", dim)?,
    ];
    let output = projection(weights, "out_proj", dim)?;
    Ok(graph.within(&weights.module(""), |graph| {
        let [query, key, value] = projections.map(|projection| {
            let x = projection.apply(graph, x);
            split_heads(graph, &x, heads, head_size)
        });
        let x = attention(graph, &query, &key, &value, Some(mask));
        let x = merge_heads(graph, &x, dim);
        output.apply(graph, &x)
    }))
}
