//! BART (*Denoising Sequence-to-Sequence Pre-training*, Lewis et al., 2019): post-norm Transformer encoder and
//! decoder over shared embeddings, with learned positions.

mod decoder;
mod decoder_io;
mod decoder_layer;
mod encoder;

use florence2_layout::graphs::{INPUT_IDS, INPUTS_EMBEDS};

use super::axes;
use super::layers::{Linear, layer_norm};
use crate::checkpoint::Weights;
use crate::config::{ModelConfig, TextConfig};
use crate::error::{Error, Result};
use crate::graph::{Graph, Value};
use crate::tensor::Tensor;
use florence2_layout::onnx::DataType;

pub(crate) use decoder::decoder;
pub(crate) use decoder_io::DecoderKind;
pub(crate) use encoder::encoder;

/// Where the weights of the two sides lie.
pub(crate) const ENCODER: &str = "model.language_model.encoder";
/// See [`ENCODER`].
pub(crate) const DECODER: &str = "model.language_model.decoder";

/// BART's position tables begin with this many rows that no token uses.
pub(in crate::model) const POSITION_OFFSET: usize = 2;

/// Token ids to embeddings.
pub(crate) fn embed_tokens<'a>(config: &ModelConfig, weights: &Weights<'a>) -> Result<Graph<'a>> {
    let text = &config.text_config;
    let mut table = embedding_matrix(text, weights)?;
    check_shared(text, weights, &table)?;
    if let Some(scale) = embedding_scale(text) {
        table = table.scaled(scale);
    }
    let mut graph = Graph::default();
    let dims = [axes::BATCH.into(), "sequence_length".into()];
    let ids = graph.input(INPUT_IDS, DataType::Int64, &dims);
    let embeddings = graph.within(EMBEDDING_MODULE, |graph| {
        let table = graph.weight(&table);
        graph.gather(&table, &ids)
    });
    let [batch, sequence] = dims;
    graph.output(
        INPUTS_EMBEDS,
        &embeddings,
        DataType::Float,
        &[batch, sequence, text.d_model.into()],
    );
    Ok(graph)
}

/// The names under which a checkpoint may keep the embedding matrix.
const EMBEDDING_NAMES: [&str; 4] = [
    "model.language_model.shared.weight",
    "model.language_model.encoder.embed_tokens.weight",
    "model.language_model.decoder.embed_tokens.weight",
    OUTPUT_PROJECTION,
];

/// The module of the embedding matrix, and that of the output projection.
const EMBEDDING_MODULE: &str = "model.language_model.shared";
/// See [`EMBEDDING_MODULE`].
const OUTPUT_MODULE: &str = "lm_head";

/// What the output projection is called in the graphs, whatever the checkpoint calls it.
const OUTPUT_PROJECTION: &str = "lm_head.weight";

/// `[vocabulary, d_model]`. A checkpoint may keep it under any of the names that share it, or several.
pub(in crate::model) fn embedding_matrix<'a>(
    config: &TextConfig,
    weights: &Weights<'a>,
) -> Result<Tensor<'a>> {
    let shape = [config.vocab_size, config.d_model];
    let [first, others @ ..] = EMBEDDING_NAMES;
    for name in EMBEDDING_NAMES {
        if let Some(table) = weights.optional(name, &shape)? {
            others.iter().for_each(|name| weights.ignore(name));
            return Ok(table.renamed(first));
        }
    }
    weights.tensor(first, &shape)
}

/// transformers ties the decoder's embeddings to the shared ones unless the checkpoint has both and they differ.
pub(in crate::model) fn check_shared(
    config: &TextConfig,
    weights: &Weights<'_>,
    shared: &Tensor<'_>,
) -> Result<()> {
    let [first, _, decoder, _] = EMBEDDING_NAMES;
    let own = weights.optional(decoder, &[config.vocab_size, config.d_model])?;
    if own.is_some_and(|own| own.values() != shared.values()) {
        let (first, second) = (first.to_owned(), decoder.to_owned());
        return Err(Error::SeparateEmbeddings { first, second });
    }
    Ok(())
}

/// `[d_model, vocabulary]`: its own matrix if the checkpoint has one, else the embeddings'.
fn output_projection<'a>(config: &ModelConfig, weights: &Weights<'a>) -> Result<Tensor<'a>> {
    let own = own_output_projection(config, weights)?;
    let projection = own.map_or_else(|| embedding_matrix(&config.text_config, weights), Ok)?;
    Ok(projection.renamed(OUTPUT_PROJECTION).transposed())
}

/// The output projection's own matrix, `[vocabulary, d_model]`, if the checkpoint has one.
pub(in crate::model) fn own_output_projection<'a>(
    config: &ModelConfig,
    weights: &Weights<'a>,
) -> Result<Option<Tensor<'a>>> {
    let shape = [config.text_config.vocab_size, config.text_config.d_model];
    if config.tie_word_embeddings {
        weights.optional(OUTPUT_PROJECTION, &shape)
    } else {
        weights.tensor(OUTPUT_PROJECTION, &shape).map(Some)
    }
}

/// What is added to the logits, `[1, vocabulary]`, unless it is nothing: published checkpoints carry zeros.
pub(in crate::model) fn logits_bias<'a>(
    config: &TextConfig,
    weights: &Weights<'a>,
) -> Result<Option<Tensor<'a>>> {
    let bias = weights.optional("final_logits_bias", &[1, config.vocab_size])?;
    Ok(bias.filter(|bias| bias.values().iter().any(|&value| value != 0.0)))
}

/// The factor on embeddings, if the model has one: √d_model.
pub(in crate::model) fn embedding_scale(config: &TextConfig) -> Option<f32> {
    config
        .scale_embedding
        .then(|| (config.d_model as f64).sqrt() as f32)
}

/// The learned positions of the side that `weights` belongs to, `[POSITION_OFFSET + positions, d_model]`.
pub(in crate::model) fn position_table<'a>(config: &TextConfig, weights: &Weights<'a>) -> Result<Tensor<'a>> {
    let rows = config.max_position_embeddings + POSITION_OFFSET;
    weights.tensor("embed_positions.weight", &[rows, config.d_model])
}

/// Embeddings plus the positions `past..past + sequence`, normalised; `past` is a vector of one integer, or
/// nothing if the sequence begins here.
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

/// A mask of ones and zeros, `[batch, keys]`, as what is added to scores, `[batch, 1, 1, keys]`: 0 and the least
/// float. (Minus infinity would make rows without any key not a number.)
pub(in crate::model) fn additive_mask(graph: &mut Graph<'_>, mask: &Value) -> Value {
    let mask = graph.cast_to_float(mask);
    let mask = graph.unsqueeze(&mask, &[1, 2]);
    let (one, least) = (graph.scalar(1.0), graph.scalar(f32::MIN));
    let masked = graph.sub(&one, &mask);
    graph.mul(&masked, &least)
}

/// One of the four projections of an attention.
fn projection<'a>(weights: &Weights<'a>, name: &str, dim: usize) -> Result<Linear<'a>> {
    Linear::load(&weights.at(name), dim, dim, true)
}

/// The query projection, with the factor 1/√size that attention scores want.
fn query_projection<'a>(weights: &Weights<'a>, dim: usize, head_size: usize) -> Result<Linear<'a>> {
    Ok(projection(weights, "q_proj", dim)?.scaled((head_size as f64).powf(-0.5) as f32))
}
