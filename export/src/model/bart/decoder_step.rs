//! The fused layout's decoder: one graph for the first step and all others.

use florence2_layout::graphs::{
    Attention, ENCODER_SEQUENCE_LENGTHS, INPUT_IDS, LOGITS, PAST_SEQUENCE_LENGTHS,
};
use florence2_layout::onnx::DataType;

use super::decoder_io::{Cache, cache_dims};
use super::layer::{Layer, decoder_layers};
use super::{POSITION_OFFSET, embedding, position_table};
use crate::checkpoint::Weights;
use crate::checkpoint::paths::DECODER;
use crate::config::{ModelConfig, TextConfig};
use crate::error::{Error, Result};
use crate::graph::{Graph, KeyMask, Value};
use crate::layers::{Linear, bias_of_lengths, cached_self_attention, cross_attention, layer_norm};
use crate::model::axes;
use crate::target::Operators;

/// The divisor of the head sizes that [`cached_self_attention`] takes.
const HEAD_SIZE_UNIT: usize = 8;

/// The graph of a decoder step: from token ids and caches to the logits after each row's last token, and the caches
/// with the new tokens.
pub(crate) fn decoder_step<'a>(
    mut graph: Graph<'a>,
    config: &ModelConfig,
    weights: &Weights<'a>,
) -> Result<Graph<'a>> {
    let text = &config.text_config;
    check_head_size(text)?;
    let inputs = Inputs::declare(&mut graph, text);
    let table = embedding::matrix(text, weights)?;
    let own = embedding::own_output_matrix(config, weights)?;
    let own = own.filter(|own| own.values() != table.values());
    let embeddings = embedding::embed(&mut graph, text, &table, own.is_none(), &inputs.ids);
    let decoder = weights.at(DECODER);
    let x = embed_positions(&mut graph, text, &decoder, &inputs, &embeddings)?;
    let rows = Rows::new(&mut graph, &inputs, &x);
    let mut presents = Vec::with_capacity(text.decoder_layers);
    let x = decoder_layers(&mut graph, text, &decoder, x, |graph, layer, index, side, x| {
        let (self_past, cross) = &inputs.caches[index];
        if side == Attention::Encoder {
            return rows.cross_attention(graph, layer, x, cross);
        }
        let (y, cache) = rows.self_attention(graph, layer, x, self_past)?;
        presents.push(cache);
        Ok(y)
    })?;
    let x = graph.last(&x, 1);
    let logits = match own {
        Some(own) => embedding::output_layer(own).apply(&mut graph, &x),
        None => embedding::tied_logits(&mut graph, &table, &x),
    };
    let logits = embedding::add_logits_bias(&mut graph, text, weights, logits)?;
    graph.output(LOGITS, &logits, &[axes::ROWS.into(), text.vocab_size.into()]);
    let dims = cache_dims(text, axes::ROWS, axes::CAPACITY);
    for (layer, cache) in presents.iter().enumerate() {
        cache.declare_output(&mut graph, layer, Attention::Decoder, &dims);
    }
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

/// The inputs of the graph.
struct Inputs {
    /// `[rows, tokens]`.
    ids: Value,
    /// Int32, `[rows]`.
    past_lengths: Value,
    /// Int32, `[images]`.
    encoder_lengths: Value,
    /// The self-attention cache and the cross-attention cache of each layer.
    caches: Vec<(Cache, Cache)>,
}

impl Inputs {
    fn declare(graph: &mut Graph<'_>, text: &TextConfig) -> Self {
        let dims = [axes::ROWS.into(), axes::TOKENS.into()];
        let ids = graph.input(INPUT_IDS, DataType::Int64, &dims);
        let past_lengths = graph.input(PAST_SEQUENCE_LENGTHS, DataType::Int32, &[axes::ROWS.into()]);
        let encoder_lengths = graph.input(ENCODER_SEQUENCE_LENGTHS, DataType::Int32, &[axes::IMAGES.into()]);
        let self_dims = cache_dims(text, axes::ROWS, axes::CAPACITY);
        let cross_dims = cache_dims(text, axes::IMAGES, axes::ENCODER_SEQUENCE);
        let caches = Cache::inputs(graph, text.decoder_layers, &self_dims, &cross_dims);
        Inputs {
            ids,
            past_lengths,
            encoder_lengths,
            caches,
        }
    }
}

/// The norm of embeddings plus the positions that follow each row's past.
fn embed_positions<'a>(
    graph: &mut Graph<'a>,
    text: &TextConfig,
    weights: &Weights<'a>,
    inputs: &Inputs,
    embeddings: &Value,
) -> Result<Value> {
    let table = graph.weight(&position_table(text, weights)?);
    let past = graph.unsqueeze(&inputs.past_lengths, &[1]);
    let (offset, one) = (graph.int32(POSITION_OFFSET as i32), graph.int32(1));
    let tokens = graph.int32_dim(embeddings, 1);
    let tokens = graph.squeeze(&tokens);
    let end = graph.add(&tokens, &offset);
    let indices = graph.range([&offset, &end, &one]);
    let positions = graph.add(&past, &indices);
    let positions = graph.gather(&table, &positions);
    let x = graph.add(embeddings, &positions);
    layer_norm(graph, &weights.at("layernorm_embedding"), text.d_model, &x)
}

/// Values computed from the rows' lengths, shared by the attention of all layers.
struct Rows {
    /// Each row's last position, int32 `[rows]`.
    last_positions: Value,
    /// Length of the longest row with its new tokens, or an upper bound, int32 `[1]`.
    longest: Value,
    /// The keys of an image that cross-attention attends to.
    encoder_mask: KeyMask,
    /// `[rows, tokens, d_model]`.
    shape: Value,
    /// `[images, rows of an image · tokens, d_model]`: for cross-attention, rows are queries of one image.
    shape_by_image: Value,
}

impl Rows {
    fn new(graph: &mut Graph<'_>, inputs: &Inputs, x: &Value) -> Self {
        let shape = graph.unary("Shape", x);
        let images = graph.dim(&inputs.encoder_lengths, 0);
        let queries = graph.ints(&[-1]);
        let dim = graph.dim(x, 2);
        let shape_by_image = graph.concat(&[&images, &queries, &dim], 0);
        let tokens = graph.int32_dim(x, 1);
        let (last_positions, longest, encoder_mask) = match inputs.caches.first() {
            Some((self_past, cross)) if graph.lowering.operators != Operators::Custom => {
                // Adding a size, which is in CPU memory, would move this sum to the CPU and copy the lengths there.
                let (zero, one) = (graph.int32(0), graph.int32(1));
                let tokens = graph.squeeze(&tokens);
                let indices = graph.range([&zero, &tokens, &one]);
                let last_index = graph.last(&indices, 0);
                let last_positions = graph.add(&inputs.past_lengths, &last_index);
                // The capacity is known on the CPU without waiting for a device.
                let longest = graph.int32_dim(&self_past.key, 2);
                let queries = graph.reshape_to(x, &shape_by_image);
                let keys = [&queries, &cross.key];
                let bias = bias_of_lengths(graph, &inputs.encoder_lengths, keys);
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

    /// Self-attention of `layer`, and its cache with the new tokens.
    fn self_attention<'a>(
        &self,
        graph: &mut Graph<'a>,
        layer: &Layer<'a, '_>,
        x: &Value,
        past: &Cache,
    ) -> Result<(Value, Cache)> {
        let [heads, _] = layer.decoder_heads();
        let (weights, dim) = (layer.weights.at("self_attn"), layer.text.d_model);
        let names = ["q_proj", "k_proj", "v_proj"];
        let projection = Linear::load_side_by_side(&weights, "qkv_proj", &names, dim, dim)?;
        let qkv = projection.apply(graph, x);
        let inputs = [&qkv, &past.key, &past.value, &self.last_positions, &self.longest];
        let [context, key, value] = cached_self_attention(graph, inputs, heads);
        let y = layer.project(graph, "self_attn.out_proj", &context)?;
        Ok((y, Cache { key, value }))
    }

    /// Cross-attention of `layer`.
    fn cross_attention<'a>(
        &self,
        graph: &mut Graph<'a>,
        layer: &Layer<'a, '_>,
        x: &Value,
        cache: &Cache,
    ) -> Result<Value> {
        let [heads, _] = layer.decoder_heads();
        let query = layer.project(graph, "encoder_attn.q_proj", x)?;
        let query = graph.reshape_to(&query, &self.shape_by_image);
        let inputs = [&query, &cache.key, &cache.value];
        let context = cross_attention(graph, inputs, &self.encoder_mask, heads);
        let context = graph.reshape_to(&context, &self.shape);
        layer.project(graph, "encoder_attn.out_proj", &context)
    }
}
