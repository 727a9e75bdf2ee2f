//! What the three decoder graphs take and give.

use florence2_layout::graphs::{
    Attention, ENCODER_ATTENTION_MASK, ENCODER_HIDDEN_STATES, INPUTS_EMBEDS, KeyValue, LOGITS,
    USE_CACHE_BRANCH, past, present,
};

use super::super::axes;
use crate::config::TextConfig;
use crate::graph::{Dim, Graph, Value};
use florence2_layout::onnx::DataType;

/// The three decoder graphs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DecoderKind {
    /// No past in, all caches out.
    First,
    /// Past in; cross-attention caches from the encoder's states, or with `use_cache_branch` from the past.
    Merged,
    /// Past in, self-attention caches out.
    WithPast,
}

/// Keys and values, `[batch, heads, length, head size]`.
pub(super) struct Cache {
    pub(super) key: Value,
    pub(super) value: Value,
}

/// Where cross-attention has its keys and values from.
pub(super) enum CrossSource {
    /// The encoder's hidden states.
    Encoder { states: Value },
    /// The past, per layer.
    Past { caches: Vec<Cache> },
    /// The past where the flag holds, else the encoder's hidden states.
    Either {
        use_past: Value,
        states: Value,
        caches: Vec<Cache>,
    },
}

/// The inputs of a decoder.
pub(super) struct Inputs {
    /// `[encoder batch, encoder sequence]`: 1 for what is to be attended to.
    pub(super) encoder_mask: Value,
    /// `[batch, sequence, d_model]`.
    pub(super) embeddings: Value,
    /// Self-attention caches of earlier steps, per layer; empty if there are none.
    pub(super) past: Vec<Cache>,
    pub(super) cross_source: CrossSource,
}

impl Inputs {
    /// Declares them. Encoder rows have a size of their own: cross-attention broadcasts, so that the rows of a
    /// batch may share one.
    pub(super) fn declare(graph: &mut Graph<'_>, config: &TextConfig, kind: DecoderKind) -> Self {
        let dim = config.d_model;
        let encoder = || [axes::ENCODER_BATCH.into(), axes::ENCODER_SEQUENCE.into()];
        let encoder_mask = graph.input(ENCODER_ATTENTION_MASK, DataType::Int64, &encoder());
        let states = (kind != DecoderKind::WithPast).then(|| {
            let [batch, sequence] = encoder();
            graph.input(
                ENCODER_HIDDEN_STATES,
                DataType::Float,
                &[batch, sequence, dim.into()],
            )
        });
        let dims = [axes::BATCH.into(), axes::DECODER_SEQUENCE.into(), dim.into()];
        let embeddings = graph.input(INPUTS_EMBEDS, DataType::Float, &dims);

        let self_dims = cache_dims(config, axes::BATCH, axes::PAST_SEQUENCE);
        let cross_dims = cache_dims(config, axes::PAST_ENCODER_BATCH, axes::PAST_ENCODER_SEQUENCE);
        let layers = if kind == DecoderKind::First {
            0
        } else {
            config.decoder_layers
        };
        let (self_past, caches) = (0..layers)
            .map(|layer| {
                let self_cache = past_cache(graph, layer, Attention::Decoder, &self_dims);
                (
                    self_cache,
                    past_cache(graph, layer, Attention::Encoder, &cross_dims),
                )
            })
            .unzip();
        let cross_source = match states {
            None => CrossSource::Past { caches },
            Some(states) if kind == DecoderKind::First => CrossSource::Encoder { states },
            Some(states) => {
                let use_past = graph.input(USE_CACHE_BRANCH, DataType::Bool, &[1.into()]);
                CrossSource::Either {
                    use_past,
                    states,
                    caches,
                }
            }
        };
        Inputs {
            encoder_mask,
            embeddings,
            past: self_past,
            cross_source,
        }
    }
}

/// Declares the outputs: scores, and each layer's caches (of cross-attention, where the graph may compute it).
pub(super) fn declare_outputs(
    graph: &mut Graph<'_>,
    config: &TextConfig,
    logits: &Value,
    presents: &[(Cache, Option<Cache>)],
) {
    let dims = [
        axes::BATCH.into(),
        axes::DECODER_SEQUENCE.into(),
        config.vocab_size.into(),
    ];
    graph.output(LOGITS, logits, DataType::Float, &dims);
    let self_dims = cache_dims(config, axes::BATCH, axes::TOTAL_SEQUENCE);
    let cross_dims = cache_dims(
        config,
        axes::PRESENT_ENCODER_BATCH,
        axes::PRESENT_ENCODER_SEQUENCE,
    );
    for (layer, (self_cache, cross_cache)) in presents.iter().enumerate() {
        present_cache(graph, layer, Attention::Decoder, self_cache, &self_dims);
        if let Some(cache) = cross_cache {
            present_cache(graph, layer, Attention::Encoder, cache, &cross_dims);
        }
    }
}

fn cache_dims(config: &TextConfig, batch: &'static str, length: &'static str) -> [Dim; 4] {
    let heads = config.decoder_attention_heads;
    [
        batch.into(),
        heads.into(),
        length.into(),
        (config.d_model / heads).into(),
    ]
}

fn past_cache(graph: &mut Graph<'_>, layer: usize, attention: Attention, dims: &[Dim]) -> Cache {
    let mut input = |kv| graph.input(&past(layer, attention, kv), DataType::Float, dims);
    Cache {
        key: input(KeyValue::Key),
        value: input(KeyValue::Value),
    }
}

fn present_cache(graph: &mut Graph<'_>, layer: usize, attention: Attention, cache: &Cache, dims: &[Dim]) {
    for (kv, value) in [(KeyValue::Key, &cache.key), (KeyValue::Value, &cache.value)] {
        graph.output(&present(layer, attention, kv), value, DataType::Float, dims);
    }
}
