//! The `step` layout's decoder: one graph for the first step and all others.

use florence2_layout::graphs::{
    Attention, ENCODER_SEQUENCE_LENGTHS, INPUT_IDS, KeyValue, LOGITS, PAST_SEQUENCE_LENGTHS, past, present,
};

use super::super::bart::{self, POSITION_OFFSET};
use super::super::layers::{Activation, Linear, layer_norm};
use super::super::{Recipe, axes};
use super::attention;
use super::embedding::TiedEmbedding;
use super::layer::{Layer, RowCount};
use crate::checkpoint::Weights;
use crate::config::TextConfig;
use crate::error::{Error, Result};
use crate::graph::{Graph, KeyMask, Value};
use crate::target::Operators;
use florence2_layout::onnx::DataType;

/// What the size of a head must be a multiple of, for [`attention::cached_self_attention`].
const HEAD_SIZE_UNIT: usize = 8;

/// Keys and values, `[rows, heads, length, head size]`.
struct Cache {
    key: Value,
    value: Value,
}

/// Token ids and caches to the scores of what follows each row's last token, and the caches grown by the tokens.
pub(super) fn decoder_step<'a>(recipe: &Recipe<'_>, weights: &Weights<'a>) -> Result<Graph<'a>> {
    let (text, precisions) = (&recipe.config.text_config, &recipe.precisions);
    let operators = recipe.operators();
    check_head_size(text)?;
    let activation = Activation::from_config("text_config.activation_function", &text.activation_function)?;
    let mut graph = Graph::default();
    let inputs = Inputs::declare(&mut graph, text);
    let embedding = TiedEmbedding::load(recipe.config, weights, precisions)?;
    let decoder = weights.at(bart::DECODER);
    let embeddings = embedding.apply(&mut graph, &inputs.ids);
    let mut x = embed_positions(&mut graph, text, &decoder, &inputs, &embeddings)?;
    let rows = Rows::new(&mut graph, operators, &inputs, &x);
    let mut presents = Vec::with_capacity(text.decoder_layers);
    for (index, (self_past, cross)) in inputs.caches.iter().enumerate() {
        let layer = Layer {
            weights: decoder.at(format_args!("layers.{index}")),
            config: text,
            precisions,
            activation,
            row_count: RowCount::Few,
        };
        let (y, cache) = self_attention(&mut graph, operators, &layer, &x, self_past, &rows)?;
        presents.push(cache);
        x = layer.residual_norm(&mut graph, "self_attn_layer_norm", &x, &y)?;
        let y = cross_attention(&mut graph, &layer, &x, cross, &rows)?;
        x = layer.residual_norm(&mut graph, "encoder_attn_layer_norm", &x, &y)?;
        let y = layer.mlp(&mut graph, text.decoder_ffn_dim, &x)?;
        x = layer.residual_norm(&mut graph, "final_layer_norm", &x, &y)?;
    }
    let x = graph.last(&x, 1);
    let logits = embedding.logits(&mut graph, precisions, &x);
    let logits = match bart::logits_bias(text, weights)? {
        Some(bias) => {
            let bias = graph.weight(&bias);
            graph.add(&logits, &bias)
        }
        None => logits,
    };
    declare_outputs(&mut graph, text, &logits, &presents);
    Ok(graph)
}

fn check_head_size(config: &TextConfig) -> Result<()> {
    let head_size = config.d_model / config.decoder_attention_heads;
    if head_size.is_multiple_of(HEAD_SIZE_UNIT) {
        return Ok(());
    }
    Err(Error::Config {
        key: "text_config.decoder_attention_heads",
        reason: format!(
            "{} makes heads of {head_size} features; ONNX Runtime's operator for caches in place takes multiples of \
             {HEAD_SIZE_UNIT}: export with target plain",
            config.decoder_attention_heads
        ),
    })
}

struct Inputs {
    /// `[rows, tokens]`.
    ids: Value,
    /// Int32, `[rows]`.
    past_lengths: Value,
    /// Int32, `[images]`.
    encoder_lengths: Value,
    /// Self-attention's and cross-attention's, per layer.
    caches: Vec<(Cache, Cache)>,
}

impl Inputs {
    fn declare(graph: &mut Graph<'_>, config: &TextConfig) -> Self {
        let heads = config.decoder_attention_heads;
        let head_size = config.d_model / heads;
        let ids = graph.input(
            INPUT_IDS,
            DataType::Int64,
            &[axes::ROWS.into(), axes::TOKENS.into()],
        );
        let past_lengths = graph.input(PAST_SEQUENCE_LENGTHS, DataType::Int32, &[axes::ROWS.into()]);
        let encoder_lengths = graph.input(ENCODER_SEQUENCE_LENGTHS, DataType::Int32, &[axes::IMAGES.into()]);
        let mut cache = |layer, attention, rows: &'static str, length: &'static str| {
            let dims = [rows.into(), heads.into(), length.into(), head_size.into()];
            let mut input = |kv| graph.input(&past(layer, attention, kv), DataType::Float, &dims);
            Cache {
                key: input(KeyValue::Key),
                value: input(KeyValue::Value),
            }
        };
        let caches = (0..config.decoder_layers)
            .map(|layer| {
                (
                    cache(layer, Attention::Decoder, axes::ROWS, axes::CAPACITY),
                    cache(layer, Attention::Encoder, axes::IMAGES, axes::ENCODER_SEQUENCE),
                )
            })
            .collect();
        Inputs {
            ids,
            past_lengths,
            encoder_lengths,
            caches,
        }
    }
}

fn declare_outputs(graph: &mut Graph<'_>, config: &TextConfig, logits: &Value, presents: &[Cache]) {
    let dims = [axes::ROWS.into(), config.vocab_size.into()];
    graph.output(LOGITS, logits, DataType::Float, &dims);
    let heads = config.decoder_attention_heads;
    let head_size = config.d_model / heads;
    let dims = [
        axes::ROWS.into(),
        heads.into(),
        axes::CAPACITY.into(),
        head_size.into(),
    ];
    for (layer, cache) in presents.iter().enumerate() {
        for (kv, value) in [(KeyValue::Key, &cache.key), (KeyValue::Value, &cache.value)] {
            graph.output(
                &present(layer, Attention::Decoder, kv),
                value,
                DataType::Float,
                &dims,
            );
        }
    }
}

/// Embeddings plus the positions that follow each row's past, normalised.
fn embed_positions<'a>(
    graph: &mut Graph<'a>,
    config: &TextConfig,
    weights: &Weights<'a>,
    inputs: &Inputs,
    embeddings: &Value,
) -> Result<Value> {
    let table = graph.weight(&bart::position_table(config, weights)?);
    let past = graph.unsqueeze(&inputs.past_lengths, &[1]);
    let (offset, one) = (graph.int32(POSITION_OFFSET as i32), graph.int32(1));
    let tokens = graph.int32_dim(embeddings, 1);
    let tokens = graph.squeeze(&tokens);
    let end = graph.add(&tokens, &offset);
    let places = graph.range([&offset, &end, &one]);
    let positions = graph.add(&past, &places);
    let positions = graph.gather(&table, &positions);
    let x = graph.add(embeddings, &positions);
    layer_norm(graph, &weights.at("layernorm_embedding"), config.d_model, &x)
}

/// What all layers need to know of the rows.
struct Rows {
    /// Each row's last position, int32 `[rows]`.
    last_positions: Value,
    /// Length of the longest row with its new tokens, or what none is longer than, int32 `[1]`.
    longest: Value,
    /// Which of an image's keys cross-attention looks at.
    encoder_mask: KeyMask,
    /// `[rows, tokens, d_model]`.
    shape: Value,
    /// `[images, rows of an image · tokens, d_model]`: for cross-attention, rows are queries of one image.
    shape_by_image: Value,
}

impl Rows {
    fn new(graph: &mut Graph<'_>, operators: Operators, inputs: &Inputs, x: &Value) -> Self {
        let shape = graph.unary("Shape", x);
        let images = graph.dim(&inputs.encoder_lengths, 0);
        let queries = graph.ints(&[-1]);
        let dim = graph.dim(x, 2);
        let shape_by_image = graph.concat(&[&images, &queries, &dim], 0);
        let tokens = graph.int32_dim(x, 1);
        let (last_positions, longest, encoder_mask) = match inputs.caches.first() {
            Some((own, cross)) if operators != Operators::Own => {
                // A sum with what the processor knows of shapes would be taken there, and the lengths be copied to it.
                let (zero, one) = (graph.int32(0), graph.int32(1));
                let tokens = graph.squeeze(&tokens);
                let places = graph.range([&zero, &tokens, &one]);
                let last_place = graph.last(&places, 0);
                let last_positions = graph.add(&inputs.past_lengths, &last_place);
                // The room there is, the processor knows without waiting for a device.
                let longest = graph.int32_dim(&own.key, 2);
                let queries = graph.reshape_to(x, &shape_by_image);
                let keys = [&queries, &cross.key];
                let bias = attention::bias_of_lengths(graph, &inputs.encoder_lengths, keys);
                (last_positions, longest, bias)
            }
            _ => {
                let lengths = graph.add(&inputs.past_lengths, &tokens);
                let one = graph.int32(1);
                let last_positions = graph.sub(&lengths, &one);
                let longest = graph.largest(&lengths);
                let lengths = KeyMask::Lengths(inputs.encoder_lengths.clone());
                (last_positions, longest, lengths)
            }
        };
        Rows {
            last_positions,
            longest,
            encoder_mask,
            shape,
            shape_by_image,
        }
    }
}

fn self_attention<'a>(
    graph: &mut Graph<'a>,
    operators: Operators,
    layer: &Layer<'a, '_>,
    x: &Value,
    past: &Cache,
    rows: &Rows,
) -> Result<(Value, Cache)> {
    let (dim, heads) = (layer.config.d_model, layer.config.decoder_attention_heads);
    let weights = layer.weights.at("self_attn");
    let names = ["q_proj", "k_proj", "v_proj"];
    let projection = Linear::load_side_by_side(&weights, "qkv_proj", &names, dim, dim)?;
    let query_key_value = layer.linear(graph, projection, x);
    let inputs = [
        &query_key_value,
        &past.key,
        &past.value,
        &rows.last_positions,
        &rows.longest,
    ];
    let [context, key, value] = attention::cached_self_attention(graph, operators, inputs, heads);
    Ok((
        layer.project(graph, "self_attn.out_proj", &context)?,
        Cache { key, value },
    ))
}

fn cross_attention<'a>(
    graph: &mut Graph<'a>,
    layer: &Layer<'a, '_>,
    x: &Value,
    cache: &Cache,
    rows: &Rows,
) -> Result<Value> {
    let query = layer.project(graph, "encoder_attn.q_proj", x)?;
    let query = graph.reshape_to(&query, &rows.shape_by_image);
    let heads = layer.config.decoder_attention_heads;
    let inputs = [&query, &cache.key, &cache.value];
    let context = attention::cross_attention(graph, inputs, &rows.encoder_mask, heads);
    let context = graph.reshape_to(&context, &rows.shape);
    layer.project(graph, "encoder_attn.out_proj", &context)
}
