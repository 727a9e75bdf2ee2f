//! The attentions of the plain layout's decoder, in standard operators.

use super::decoder_io::{Cache, CrossAttentionSource};
use super::layer::Layer;
use crate::error::Result;
use crate::graph::{Graph, Value};
use crate::layers::{Linear, merge_heads, scaled_dot_product, split_heads};

/// The inputs that the attentions of all layers share.
pub(super) struct DecoderAttention {
    /// A term of the scores of self-attention, `[sequence, past + sequence]`.
    pub(super) causal_mask: Value,
    /// A term of the scores of cross-attention, `[encoder batch, 1, 1, encoder sequence]`.
    pub(super) cross_attention_mask: Value,
    /// Self-attention caches of earlier steps, per layer; empty if there are none.
    pub(super) past: Vec<Cache>,
    pub(super) cross_attention_source: CrossAttentionSource,
}

impl DecoderAttention {
    /// Self-attention of the layer `index`, and its cache with the new tokens.
    pub(super) fn self_attention<'a>(
        &self,
        graph: &mut Graph<'a>,
        layer: &Layer<'a, '_>,
        index: usize,
        x: &Value,
    ) -> Result<(Value, Cache)> {
        let query = query(graph, layer, "self_attn.q_proj", x)?;
        let projections = [
            layer.projection("self_attn.k_proj")?,
            layer.projection("self_attn.v_proj")?,
        ];
        let [mut key, mut value] = by_head(graph, layer, projections, x);
        if let Some(past) = self.past.get(index) {
            key = graph.concat(&[&past.key, &key], 2);
            value = graph.concat(&[&past.value, &value], 2);
        }
        let context = scaled_dot_product(graph, [&query, &key, &value], Some(&self.causal_mask));
        let y = output(graph, layer, "self_attn.out_proj", &context)?;
        Ok((y, Cache { key, value }))
    }

    /// Cross-attention of the layer `index`, and its cache if this graph may compute it.
    pub(super) fn cross_attention<'a>(
        &self,
        graph: &mut Graph<'a>,
        layer: &Layer<'a, '_>,
        index: usize,
        x: &Value,
    ) -> Result<(Value, Option<Cache>)> {
        let query = query(graph, layer, "encoder_attn.q_proj", x)?;
        let projections = [
            layer.projection("encoder_attn.k_proj")?,
            layer.projection("encoder_attn.v_proj")?,
        ];
        let attend = |graph: &mut Graph<'a>, key: &Value, value: &Value| {
            scaled_dot_product(graph, [&query, key, value], Some(&self.cross_attention_mask))
        };
        let (context, cache) = match &self.cross_attention_source {
            CrossAttentionSource::Encoder { states } => {
                let [key, value] = by_head(graph, layer, projections, states);
                (attend(graph, &key, &value), Some(Cache { key, value }))
            }
            CrossAttentionSource::Past { caches } => {
                let Cache { key, value } = &caches[index];
                (attend(graph, key, value), None)
            }
            CrossAttentionSource::Either {
                use_past,
                states,
                caches,
            } => {
                let past = &caches[index];
                // Attention is inside the branches, so that the past's keys and values are never copied: the cached
                // branch returns empty ones.
                let [context, key, value] = graph.if_else(
                    use_past,
                    |graph| {
                        let context = attend(graph, &past.key, &past.value);
                        let [heads, size] = layer.decoder_heads().map(|size| size as i64);
                        let mut empty = || graph.zeros(&[0, heads, 1, size]);
                        [context, empty(), empty()]
                    },
                    |graph| {
                        let [key, value] = by_head(graph, layer, projections, states);
                        [attend(graph, &key, &value), key, value]
                    },
                );
                (context, Some(Cache { key, value }))
            }
        };
        let y = output(graph, layer, "encoder_attn.out_proj", &context)?;
        Ok((y, cache))
    }
}

/// The scaled query of `x`, by head.
fn query<'a>(graph: &mut Graph<'a>, layer: &Layer<'a, '_>, name: &str, x: &Value) -> Result<Value> {
    let [_, size] = layer.decoder_heads();
    let projection = layer.projection(name)?.scaled((size as f64).powf(-0.5) as f32);
    let [query] = by_head(graph, layer, [projection], x);
    Ok(query)
}

/// Projections of `x`, `[batch, heads, tokens, size]`.
fn by_head<'a, const PROJECTIONS: usize>(
    graph: &mut Graph<'a>,
    layer: &Layer<'a, '_>,
    projections: [Linear<'a>; PROJECTIONS],
    x: &Value,
) -> [Value; PROJECTIONS] {
    let [heads, size] = layer.decoder_heads();
    projections.map(|projection| {
        let x = projection.apply(graph, x);
        split_heads(graph, &x, heads, size)
    })
}

/// The output projection `name` of `context`, `[batch, heads, tokens, size]`.
fn output<'a>(graph: &mut Graph<'a>, layer: &Layer<'a, '_>, name: &str, context: &Value) -> Result<Value> {
    let context = merge_heads(graph, context, layer.text.d_model);
    layer.project(graph, name, &context)
}
