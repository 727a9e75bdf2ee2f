//! The tensors of a decoder's KV caches, by its graph's signature.

use florence2_layout::graphs::{Attention, KeyValue, past, present};

use crate::bundle::WITHOUT_CACHES;
use crate::error::Result;
use crate::session::Graph;

/// The names of one cache tensor: `past` is an input, `present` an output.
pub(super) struct CacheNames {
    pub(super) past: String,
    pub(super) present: String,
}

/// A decoder's KV cache tensors: key and value of the first layer, key and value of the second, ...
pub(super) struct CacheSpec {
    pub(super) self_attention: Vec<CacheNames>,
    pub(super) cross_attention: Vec<CacheNames>,
}

impl CacheSpec {
    /// Returns the caches of a decoder graph, by its outputs for self-attention.
    ///
    /// # Errors
    /// [`Error::InvalidGraph`](crate::Error::InvalidGraph) if it has none.
    pub(super) fn of(graph: &Graph) -> Result<Self> {
        let has_layer = |&layer: &usize| graph.has_output(&present(layer, Attention::Decoder, KeyValue::Key));
        let layers = (0..).take_while(has_layer).count();
        if layers == 0 {
            if graph.outputs().len() == 1 {
                return Err(graph.invalid(WITHOUT_CACHES));
            }
            graph.output(&present(0, Attention::Decoder, KeyValue::Key))?;
        }
        let names = |attention| {
            let tensors = (0..layers).flat_map(|layer| [(layer, KeyValue::Key), (layer, KeyValue::Value)]);
            let names = tensors.map(|(layer, kv)| CacheNames {
                past: past(layer, attention, kv),
                present: present(layer, attention, kv),
            });
            names.collect()
        };
        Ok(Self {
            self_attention: names(Attention::Decoder),
            cross_attention: names(Attention::Encoder),
        })
    }

    pub(super) fn layers(&self) -> usize {
        self.self_attention.len() / 2
    }

    /// Returns all tensors' names, self-attention's first.
    pub(super) fn all(&self) -> impl Iterator<Item = &CacheNames> {
        self.self_attention.iter().chain(&self.cross_attention)
    }
}
