//! The embedding matrix, once per graph, in the cheapest form that is exact enough.

use half::f16;

use super::super::bart;
use super::super::layers::Linear;
use super::blocks::{block_linear, block_weight};
use crate::checkpoint::Weights;
use crate::config::{ModelConfig, TextConfig};
use crate::error::Result;
use crate::graph::{Graph, Value};
use crate::precisions::Precisions;
use crate::quantize::BlockFormat;
use crate::target::Precision;
use crate::tensor::Tensor;

/// The module's path, whatever the checkpoint calls it.
const MODULE: &str = "model.language_model.shared";
/// Path of the output projection.
const OUTPUT_MODULE: &str = "lm_head";

/// The matrix of token embeddings, `[vocabulary, d_model]`.
pub(super) struct Embedding<'a> {
    table: Table<'a>,
    /// Factor on what the table holds.
    scale: Option<f32>,
}

enum Table<'a> {
    Float(Tensor<'a>),
    /// Of a checkpoint of such numbers.
    Half(Tensor<'a, f16>),
    /// Bytes by blocks.
    Int8(Tensor<'a>),
}

impl<'a> Embedding<'a> {
    /// For looking up only.
    pub(super) fn load(
        config: &TextConfig,
        weights: &Weights<'a>,
        precisions: &Precisions<'_>,
    ) -> Result<Self> {
        let table = bart::embedding_matrix(config, weights)?;
        bart::check_shared(config, weights, &table)?;
        let table = match precisions.of(MODULE) {
            Precision::Fp32 => halves(&table).map_or(Table::Float(table), Table::Half),
            _ => Table::Int8(table),
        };
        Ok(Embedding {
            table,
            scale: bart::embedding_scale(config),
        })
    }

    /// Rows of the matrix, by `ids` of two axes; the result has one more.
    pub(super) fn apply(&self, graph: &mut Graph<'a>, ids: &Value) -> Value {
        let embeddings = graph.within(MODULE, |graph| match &self.table {
            Table::Float(table) => {
                let table = graph.weight(table);
                graph.gather(&table, ids)
            }
            Table::Half(table) => {
                let table = graph.weight(table);
                let rows = graph.gather(&table, ids);
                graph.cast_to_float(&rows)
            }
            Table::Int8(table) => gather_blocks(graph, table, ids),
        });
        match self.scale {
            Some(scale) => {
                let scale = graph.scalar(scale);
                graph.mul(&embeddings, &scale)
            }
            None => embeddings,
        }
    }
}

/// The matrix in half the size, if nothing is lost by it.
fn halves<'a>(table: &Tensor<'a>) -> Option<Tensor<'a, f16>> {
    let is_half = |value: &f32| f16::from_f32(*value).to_f32() == *value;
    let to_half = |values: Vec<f32>| values.into_iter().map(f16::from_f32).collect();
    let lossless = table.values().iter().all(is_half);
    lossless.then(|| table.derived("float16", table.shape(), to_half))
}

/// Rows of a matrix of bytes by blocks.
fn gather_blocks<'a>(graph: &mut Graph<'a>, table: &Tensor<'a>, ids: &Value) -> Value {
    let format = BlockFormat::Int8;
    let table = block_weight(graph, table, format);
    let values = graph.gather(&table.values, ids);
    let values = graph.cast_to_float(&values);
    let zero = graph.scalar(f32::from(format.zero_point()));
    let values = graph.sub(&values, &zero);
    let scales = graph.gather(&table.scales, ids);
    let scales = graph.unsqueeze(&scales, &[3]);
    let rows = graph.mul(&values, &scales);
    let [_, dim] = table.shape;
    let filled = dim.next_multiple_of(format.block_size());
    let rows = graph.reshape(&rows, &[0, 0, filled as i64]);
    if filled == dim {
        return rows;
    }
    let (start, end) = (graph.ints(&[0]), graph.ints(&[dim as i64]));
    graph.slice(&rows, &start, &end, &[2])
}

/// The embedding matrix as the decoder has it: tokens come in by it and go out by it, unless the checkpoint has a matrix
/// of its own for that.
pub(super) struct TiedEmbedding<'a> {
    embedding: Embedding<'a>,
    projection: Projection<'a>,
}

/// To the vocabulary.
enum Projection<'a> {
    /// By the embedding matrix.
    Float(Tensor<'a>),
    /// By the embedding matrix, in bytes by blocks.
    Int8(Tensor<'a>),
    /// By a matrix of its own.
    Own(Linear<'a>),
}

impl<'a> TiedEmbedding<'a> {
    pub(super) fn load(
        config: &ModelConfig,
        weights: &Weights<'a>,
        precisions: &Precisions<'_>,
    ) -> Result<Self> {
        let text = &config.text_config;
        let table = bart::embedding_matrix(text, weights)?;
        let own = bart::own_output_projection(config, weights)?;
        if let Some(own) = own.filter(|own| own.values() != table.values()) {
            let projection = Projection::Own(Linear {
                module: OUTPUT_MODULE.to_owned(),
                weight: own.transposed(),
                bias: None,
            });
            return Ok(TiedEmbedding {
                embedding: Embedding::load(text, weights, precisions)?,
                projection,
            });
        }
        let (shared, projection) = match precisions.of(MODULE) {
            Precision::Fp32 => (Table::Float(table.clone()), Projection::Float(table)),
            _ => (Table::Int8(table.clone()), Projection::Int8(table)),
        };
        let embedding = Embedding {
            table: shared,
            scale: bart::embedding_scale(text),
        };
        Ok(TiedEmbedding {
            embedding,
            projection,
        })
    }

    /// As [`Embedding::apply`].
    pub(super) fn apply(&self, graph: &mut Graph<'a>, ids: &Value) -> Value {
        self.embedding.apply(graph, ids)
    }

    /// `[rows, d_model]` to the scores of all tokens, `[rows, vocabulary]`.
    pub(super) fn logits(&self, graph: &mut Graph<'a>, precisions: &Precisions<'_>, x: &Value) -> Value {
        match &self.projection {
            Projection::Float(table) => graph.within(OUTPUT_MODULE, |graph| {
                let table = graph.weight(table);
                graph.matmul_transposed(x, &table)
            }),
            Projection::Int8(table) => graph.within(OUTPUT_MODULE, |graph| {
                let table = block_weight(graph, table, BlockFormat::Int8);
                graph.matmul_by_blocks(x, &table, None)
            }),
            Projection::Own(layer) => block_linear(graph, precisions, layer, x),
        }
    }
}
