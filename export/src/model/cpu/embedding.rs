//! The embedding matrix, once per graph, in the cheapest form that is exact enough.

use half::f16;

use super::super::bart;
use crate::checkpoint::Weights;
use crate::config::{ModelConfig, TextConfig};
use crate::error::Result;
use crate::graph::{Graph, Value};
use crate::precisions::Precisions;
use crate::tensor::Tensor;

/// Token ids to embeddings.
pub(super) struct Embedding<'a> {
    table: Table<'a>,
    /// Factor on what the table holds.
    scale: Option<f32>,
}

/// `[vocabulary, d_model]`.
enum Table<'a> {
    Float(Tensor<'a>),
    /// Of a checkpoint of such numbers.
    Half(Tensor<'a, f16>),
}

impl<'a> Embedding<'a> {
    pub(super) fn load(
        config: &TextConfig,
        weights: &Weights<'a>,
        _precisions: &Precisions<'_>,
    ) -> Result<Self> {
        let table = bart::embedding_matrix(config, weights)?;
        bart::check_shared(config, weights, &table)?;
        Ok(Embedding {
            table: Table::cheapest(table),
            scale: bart::embedding_scale(config),
        })
    }

    /// `ids` in any shape; the result has one axis more.
    pub(super) fn apply(&self, graph: &mut Graph<'a>, ids: &Value) -> Value {
        let embeddings = self.table.rows(graph, ids);
        scaled(graph, &embeddings, self.scale)
    }
}

impl<'a> Table<'a> {
    /// Half the size, if nothing is lost by it.
    fn cheapest(table: Tensor<'a>) -> Self {
        let is_half = |value: &f32| f16::from_f32(*value).to_f32() == *value;
        if !table.values().iter().all(is_half) {
            return Table::Float(table);
        }
        let shape = table.shape().to_vec();
        let to_half = |values: Vec<f32>| values.into_iter().map(f16::from_f32).collect();
        Table::Half(table.derived("float16", shape, to_half))
    }

    fn rows(&self, graph: &mut Graph<'a>, ids: &Value) -> Value {
        match self {
            Table::Float(table) => {
                let table = graph.weight(table);
                graph.gather(&table, ids)
            }
            Table::Half(table) => {
                let table = graph.weight(table);
                let rows = graph.gather(&table, ids);
                graph.cast_to_float(&rows)
            }
        }
    }
}

/// The embedding matrix as the decoder has it: its tokens come in by it and go out by it, unless the checkpoint has a
/// matrix of its own for that.
pub(super) struct TiedEmbedding<'a> {
    /// `[vocabulary, d_model]`.
    table: Tensor<'a>,
    scale: Option<f32>,
    own_projection: Option<Tensor<'a>>,
}

impl<'a> TiedEmbedding<'a> {
    pub(super) fn load(
        config: &ModelConfig,
        weights: &Weights<'a>,
        _precisions: &Precisions<'_>,
    ) -> Result<Self> {
        let text = &config.text_config;
        let table = bart::embedding_matrix(text, weights)?;
        let own = bart::own_output_projection(config, weights)?;
        let own_projection = own.filter(|own| own.values() != table.values());
        Ok(TiedEmbedding {
            table,
            scale: bart::embedding_scale(text),
            own_projection,
        })
    }

    /// `ids` in any shape; the result has one axis more.
    pub(super) fn apply(&self, graph: &mut Graph<'a>, ids: &Value) -> Value {
        let table = graph.weight(&self.table);
        let embeddings = graph.gather(&table, ids);
        scaled(graph, &embeddings, self.scale)
    }

    /// `[rows, d_model]` to the scores of all tokens, `[rows, vocabulary]`.
    pub(super) fn logits(&self, graph: &mut Graph<'a>, x: &Value) -> Value {
        let table = graph.weight(self.own_projection.as_ref().unwrap_or(&self.table));
        graph.matmul_transposed(x, &table)
    }
}

fn scaled(graph: &mut Graph<'_>, embeddings: &Value, scale: Option<f32>) -> Value {
    match scale {
        Some(scale) => {
            let scale = graph.scalar(scale);
            graph.mul(embeddings, &scale)
        }
        None => embeddings.clone(),
    }
}
