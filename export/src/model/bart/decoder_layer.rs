//! The layers of BART's decoder.

use super::super::layers::{Linear, attention, layer_norm, merge_heads, split_heads};
use super::decoder_io::{Cache, CrossSource};
use super::{projection, query_projection};
use crate::checkpoint::Weights;
use crate::config::TextConfig;
use crate::error::Result;
use crate::graph::{Graph, Value};

/// What the layers of a decoder have in common.
pub(super) struct DecoderLayers<'g, 'a, 'c> {
    pub(super) graph: &'g mut Graph<'a>,
    pub(super) config: &'c TextConfig,
    /// What is added to the scores of self-attention, `[sequence, past + sequence]`.
    pub(super) causal_mask: Value,
    /// What is added to the scores of cross-attention, `[encoder batch, 1, 1, encoder sequence]`.
    pub(super) cross_mask: Value,
    /// Self-attention caches of earlier steps, per layer; empty if there are none.
    pub(super) past: Vec<Cache>,
    pub(super) cross_source: CrossSource,
}

impl<'a> DecoderLayers<'_, 'a, '_> {
    /// `norm(x + y)`.
    pub(super) fn residual_norm(&mut self, weights: &Weights<'a>, x: &Value, y: &Value) -> Result<Value> {
        let sum = self.graph.add(x, y);
        layer_norm(self.graph, weights, self.config.d_model, &sum)
    }

    fn head_size(&self) -> usize {
        self.config.d_model / self.config.decoder_attention_heads
    }

    fn heads(&mut self, x: &Value) -> Value {
        let head_size = self.head_size();
        split_heads(self.graph, x, self.config.decoder_attention_heads, head_size)
    }

    fn key_value_projections(&self, weights: &Weights<'a>) -> Result<[Linear<'a>; 2]> {
        let dim = self.config.d_model;
        Ok([
            projection(weights, "k_proj", dim)?,
            projection(weights, "v_proj", dim)?,
        ])
    }

    /// Keys and values of `x`.
    fn key_value(&mut self, weights: &Weights<'a>, x: &Value) -> Result<Cache> {
        let [key, value] = self.key_value_projections(weights)?.map(|projection| {
            let x = projection.apply(self.graph, x);
            self.heads(&x)
        });
        Ok(Cache { key, value })
    }

    fn query(&mut self, weights: &Weights<'a>, x: &Value) -> Result<Value> {
        let query = query_projection(weights, self.config.d_model, self.head_size())?.apply(self.graph, x);
        Ok(self.heads(&query))
    }

    fn output(&mut self, weights: &Weights<'a>, context: &Value) -> Result<Value> {
        let context = merge_heads(self.graph, context, self.config.d_model);
        Ok(projection(weights, "out_proj", self.config.d_model)?.apply(self.graph, &context))
    }

    /// Gives also the cache, grown by the new tokens.
    pub(super) fn self_attention(
        &mut self,
        weights: &Weights<'a>,
        layer: usize,
        x: &Value,
    ) -> Result<(Value, Cache)> {
        let query = self.query(weights, x)?;
        let mut cache = self.key_value(weights, x)?;
        if let Some(past) = self.past.get(layer) {
            cache.key = self.graph.concat(&[&past.key, &cache.key], 2);
            cache.value = self.graph.concat(&[&past.value, &cache.value], 2);
        }
        let context = attention(
            self.graph,
            &query,
            &cache.key,
            &cache.value,
            Some(&self.causal_mask),
        );
        Ok((self.output(weights, &context)?, cache))
    }

    /// Gives also the cache, where this graph may be the one that computes it.
    pub(super) fn cross_attention(
        &mut self,
        weights: &Weights<'a>,
        layer: usize,
        x: &Value,
    ) -> Result<(Value, Option<Cache>)> {
        let query = self.query(weights, x)?;
        let (context, cache) = match &self.cross_source {
            CrossSource::Encoder { states } => {
                let states = states.clone();
                let cache = self.key_value(weights, &states)?;
                let mask = Some(&self.cross_mask);
                (
                    attention(self.graph, &query, &cache.key, &cache.value, mask),
                    Some(cache),
                )
            }
            CrossSource::Past { caches } => {
                let Cache { key, value } = &caches[layer];
                (
                    attention(self.graph, &query, key, value, Some(&self.cross_mask)),
                    None,
                )
            }
            CrossSource::Either {
                use_past,
                states,
                caches,
            } => {
                let projections = self.key_value_projections(weights)?;
                let past = &caches[layer];
                let mask = Some(&self.cross_mask);
                let (heads, size) = (self.config.decoder_attention_heads, self.head_size());
                // Attention is inside the branches, so that the past's keys and values are never copied: the
                // cached branch gives empty ones in their place.
                let [context, key, value] = self.graph.if_else(
                    use_past,
                    |graph| {
                        let context = attention(graph, &query, &past.key, &past.value, mask);
                        let mut dummy = || graph.zeros(&[0, heads as i64, 1, size as i64]);
                        [context, dummy(), dummy()]
                    },
                    |graph| {
                        let [key, value] = projections.map(|projection| {
                            let x = projection.apply(graph, states);
                            split_heads(graph, &x, heads, size)
                        });
                        [attention(graph, &query, &key, &value, mask), key, value]
                    },
                );
                (context, Some(Cache { key, value }))
            }
        };
        Ok((self.output(weights, &context)?, cache))
    }
}
