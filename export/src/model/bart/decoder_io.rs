//! Inputs and outputs of the three decoder graphs of the plain layout.

use florence2_layout::graphs::{
    Attention, ENCODER_ATTENTION_MASK, ENCODER_HIDDEN_STATES, INPUTS_EMBEDS, KeyValue, LOGITS,
    USE_CACHE_BRANCH, past, present,
};

use crate::config::TextConfig;
use crate::graph::{Dim, Graph, Value};
use crate::model::axes;
use florence2_layout::onnx::DataType;

/// The three decoder graphs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DecoderKind {
    /// Takes no past and returns all caches.
    First,
    /// Takes a past; computes cross-attention caches from the encoder's states, or with `use_cache_branch` takes them from
    /// the past.
    Merged,
    /// Takes a past and returns self-attention caches.
    WithPast,
}

/// Keys and values, `[batch, heads, length, head size]`.
pub(super) struct Cache {
    pub(super) key: Value,
    pub(super) value: Value,
}

/// The source of cross-attention's keys and values.
pub(super) enum CrossAttentionSource {
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
    /// `[encoder batch, encoder sequence]`: 1 for tokens to attend to.
    pub(super) encoder_mask: Value,
    /// `[batch, sequence, d_model]`.
    pub(super) embeddings: Value,
    /// Self-attention caches of earlier steps, per layer; empty if there are none.
    pub(super) past: Vec<Cache>,
    pub(super) cross_attention_source: CrossAttentionSource,
}

impl Inputs {
    /// Declares the inputs. The number of encoder rows is free: cross-attention broadcasts, so that the rows of a batch may
    /// share one.
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
        let caches = Cache::inputs(graph, layers, &self_dims, &cross_dims);
        let (self_past, caches) = caches.into_iter().unzip();
        let cross_attention_source = match states {
            None => CrossAttentionSource::Past { caches },
            Some(states) if kind == DecoderKind::First => CrossAttentionSource::Encoder { states },
            Some(states) => {
                let use_past = graph.input(USE_CACHE_BRANCH, DataType::Bool, &[1.into()]);
                CrossAttentionSource::Either {
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
            cross_attention_source,
        }
    }
}

/// Declares the outputs: logits, each layer's self-attention cache, and each layer's cross-attention cache in graphs
/// that may compute it.
pub(super) fn declare_outputs(
    graph: &mut Graph<'_>,
    config: &TextConfig,
    logits: &Value,
    self_attention_caches: &[Cache],
    cross_attention_caches: &[Cache],
) {
    let batch = axes::BATCH;
    let dims = [
        batch.into(),
        axes::DECODER_SEQUENCE.into(),
        config.vocab_size.into(),
    ];
    graph.output(LOGITS, logits, &dims);
    let self_dims = cache_dims(config, batch, axes::TOTAL_SEQUENCE);
    let (batch, sequence) = (axes::PRESENT_ENCODER_BATCH, axes::PRESENT_ENCODER_SEQUENCE);
    let cross_dims = cache_dims(config, batch, sequence);
    for (layer, self_cache) in self_attention_caches.iter().enumerate() {
        self_cache.declare_output(graph, layer, Attention::Decoder, &self_dims);
        if let Some(cross_cache) = cross_attention_caches.get(layer) {
            cross_cache.declare_output(graph, layer, Attention::Encoder, &cross_dims);
        }
    }
}

/// The shape of a cache with these names of free sizes.
pub(super) fn cache_dims(config: &TextConfig, batch: &'static str, length: &'static str) -> [Dim; 4] {
    let heads = config.decoder_attention_heads;
    let head_size = config.d_model / heads;
    [batch.into(), heads.into(), length.into(), head_size.into()]
}

impl Cache {
    /// Declares the self-attention and the cross-attention cache of each layer as inputs.
    pub(super) fn inputs(
        graph: &mut Graph<'_>,
        layers: usize,
        self_dims: &[Dim],
        cross_dims: &[Dim],
    ) -> Vec<(Self, Self)> {
        let caches = (0..layers).map(|layer| {
            let self_cache = Self::input(graph, layer, Attention::Decoder, self_dims);
            let cross_cache = Self::input(graph, layer, Attention::Encoder, cross_dims);
            (self_cache, cross_cache)
        });
        caches.collect()
    }

    /// Declares the cache of a layer as inputs.
    fn input(graph: &mut Graph<'_>, layer: usize, attention: Attention, dims: &[Dim]) -> Self {
        let mut input = |kv| graph.input(&past(layer, attention, kv), DataType::Float, dims);
        Cache {
            key: input(KeyValue::Key),
            value: input(KeyValue::Value),
        }
    }

    /// Declares the cache of a layer as outputs.
    pub(super) fn declare_output(
        &self,
        graph: &mut Graph<'_>,
        layer: usize,
        attention: Attention,
        dims: &[Dim],
    ) {
        graph.output(&present(layer, attention, KeyValue::Key), &self.key, dims);
        graph.output(&present(layer, attention, KeyValue::Value), &self.value, dims);
    }
}
