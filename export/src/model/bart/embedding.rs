//! The matrix of token embeddings, once per graph, and the output projection, which is the same matrix unless the
//! checkpoint has another.

use florence2_layout::dtypes::Dtype;
use florence2_layout::graphs::{INPUT_IDS, INPUTS_EMBEDS};
use florence2_layout::onnx::DataType;
use half::f16;

use crate::checkpoint::Weights;
use crate::checkpoint::paths::{EMBEDDINGS, OUTPUT_PROJECTION};
use crate::config::{ModelConfig, TextConfig};
use crate::error::{Error, Result};
use crate::graph::{Graph, Value};
use crate::layers::Linear;
use crate::model::axes;
use crate::quantize::{self, BlockFormat, BlockWeight};
use crate::tensor::Tensor;

/// The module of the embedding matrix, under any name of the checkpoint.
const MODULE: &str = "model.language_model.shared";
/// The module of the output projection.
const OUTPUT_MODULE: &str = "lm_head";

/// The plain layout's graph from token ids to embeddings.
pub(crate) fn embed_tokens<'a>(
    mut graph: Graph<'a>,
    text: &TextConfig,
    weights: &Weights<'a>,
) -> Result<Graph<'a>> {
    let mut table = checked_matrix(text, weights)?;
    if let Some(scale) = scale(text) {
        table = table.scaled(scale);
    }
    let [batch, sequence] = [axes::BATCH.into(), "sequence_length".into()];
    let ids = [batch, sequence];
    let x = graph.input(INPUT_IDS, DataType::Int64, &ids);
    let embeddings = quantize::gather(&mut graph, MODULE, &table, &x);
    let [batch, sequence] = ids;
    graph.output(
        INPUTS_EMBEDS,
        &embeddings,
        &[batch, sequence, text.d_model.into()],
    );
    Ok(graph)
}

/// The embedding matrix, `[vocabulary, d_model]`. A checkpoint may keep it under any of the names that share it, or
/// several.
pub(super) fn matrix<'a>(text: &TextConfig, weights: &Weights<'a>) -> Result<Tensor<'a>> {
    let shape = [text.vocab_size, text.d_model];
    let [first, ..] = EMBEDDINGS;
    let names = || EMBEDDINGS.into_iter().chain([OUTPUT_PROJECTION]);
    for name in names() {
        if let Some(table) = weights.optional(name, &shape)? {
            names().skip(1).for_each(|name| weights.ignore(name));
            return Ok(table.renamed(first));
        }
    }
    weights.tensor(first, &shape)
}

/// [`matrix`], if the decoder's embeddings are the same: transformers ties them unless the checkpoint has both and they
/// differ.
///
/// # Errors
/// [`Error::SeparateEmbeddings`] if they differ.
pub(super) fn checked_matrix<'a>(text: &TextConfig, weights: &Weights<'a>) -> Result<Tensor<'a>> {
    let shared = matrix(text, weights)?;
    let [first, _, decoder] = EMBEDDINGS;
    let own = weights.optional(decoder, &[text.vocab_size, text.d_model])?;
    if own.is_some_and(|own| own.values() != shared.values()) {
        let (first, second) = (first.to_owned(), decoder.to_owned());
        return Err(Error::SeparateEmbeddings { first, second });
    }
    Ok(shared)
}

/// The factor on embeddings, if the model has one: √d_model.
fn scale(text: &TextConfig) -> Option<f32> {
    text.scale_embedding.then(|| (text.d_model as f64).sqrt() as f32)
}

/// Rows `ids` (of two axes) of the embedding matrix `table` in a graph of the fused layout, `[.., .., d_model]`. If
/// `is_tied`, the matrix is stored in the form that [`tied_logits`] shares.
pub(super) fn embed<'a>(
    graph: &mut Graph<'a>,
    text: &TextConfig,
    table: &Tensor<'a>,
    is_tied: bool,
    ids: &Value,
) -> Value {
    let is_quantized = is_quantized(graph);
    let embeddings = graph.within(MODULE, |graph| {
        if is_quantized {
            return gather_blocks(graph, table, ids);
        }
        let halves = if is_tied { None } else { lossless_float16(table) };
        match halves {
            Some(halves) => {
                let halves = graph.weight(&halves);
                let rows = graph.gather(&halves, ids);
                graph.cast_to_float(&rows)
            }
            None => {
                let table = graph.weight(table);
                graph.gather(&table, ids)
            }
        }
    });
    match scale(text) {
        Some(scale) => {
            let scale = graph.scalar(scale);
            graph.mul(&embeddings, &scale)
        }
        None => embeddings,
    }
}

/// The scores of all tokens, `[rows, vocabulary]`, for `x`, `[rows, d_model]`, by the embedding matrix `table` in a graph of
/// the fused layout.
pub(super) fn tied_logits<'a>(graph: &mut Graph<'a>, table: &Tensor<'a>, x: &Value) -> Value {
    let is_quantized = is_quantized(graph);
    graph.within(OUTPUT_MODULE, |graph| {
        if is_quantized {
            return BlockWeight::new(table, BlockFormat::Int8).integer_matmul(graph, x, None);
        }
        let table = graph.weight(table);
        graph.matmul_transposed(x, &table)
    })
}

fn is_quantized(graph: &Graph<'_>) -> bool {
    let dtype = graph.lowering.dtypes.of(MODULE);
    !matches!(dtype, Dtype::Fp32 | Dtype::Fp16)
}

/// The matrix in 16-bit floats, if all its values are such.
fn lossless_float16<'a>(table: &Tensor<'a>) -> Option<Tensor<'a, f16>> {
    let is_lossless = |value: &f32| f16::from_f32(*value).to_f32() == *value;
    let convert = |values: Vec<f32>| values.into_iter().map(f16::from_f32).collect();
    let lossless = table.values().iter().all(is_lossless);
    lossless.then(|| table.derived("float16", table.shape(), convert))
}

/// Rows of a matrix quantized by blocks.
fn gather_blocks<'a>(graph: &mut Graph<'a>, table: &Tensor<'a>, ids: &Value) -> Value {
    let format = BlockFormat::Int8;
    let table = BlockWeight::new(table, format);
    let (values, scales) = (graph.weight(&table.values), graph.weight(&table.scales));
    let values = graph.gather(&values, ids);
    let values = graph.cast_to_float(&values);
    let zero = graph.scalar(f32::from(format.zero_point()));
    let values = graph.sub(&values, &zero);
    let scales = graph.gather(&scales, ids);
    let scales = graph.unsqueeze(&scales, &[3]);
    let rows = graph.mul(&values, &scales);
    let [_, dim] = table.shape;
    let padded = dim.next_multiple_of(format.block_size());
    let rows = graph.reshape(&rows, &[0, 0, padded as i64]);
    if padded == dim {
        return rows;
    }
    let (start, end) = (graph.ints(&[0]), graph.ints(&[dim as i64]));
    graph.slice(&rows, &start, &end, &[2])
}

/// The output projection's own matrix, `[vocabulary, d_model]`, if the checkpoint has one.
pub(super) fn own_output_matrix<'a>(
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

/// The layer from hidden states to scores by `matrix`, `[vocabulary, d_model]`.
pub(super) fn output_layer(matrix: Tensor<'_>) -> Linear<'_> {
    Linear {
        module: OUTPUT_MODULE.to_owned(),
        weight: matrix.renamed(OUTPUT_PROJECTION).transposed(),
        bias: None,
    }
}

/// Adds the bias of the logits, `[1, vocabulary]`, unless it is zero, as in published checkpoints.
pub(super) fn add_logits_bias<'a>(
    graph: &mut Graph<'a>,
    text: &TextConfig,
    weights: &Weights<'a>,
    logits: Value,
) -> Result<Value> {
    let bias = weights.optional("final_logits_bias", &[1, text.vocab_size])?;
    match bias.filter(|bias| bias.values().iter().any(|&value| value != 0.0)) {
        Some(bias) => {
            let bias = graph.weight(&bias);
            Ok(graph.add(&logits, &bias))
        }
        None => Ok(logits),
    }
}
