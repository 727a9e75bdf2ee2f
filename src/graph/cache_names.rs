//! What the tensors of caches are called.

use florence2_layout::graphs::{Attention, KeyValue, past, present};

/// One cache's tensors: `past` goes in, `present` comes out.
pub(crate) struct CacheNames {
    pub(crate) past: String,
    pub(crate) present: String,
}

impl CacheNames {
    /// Those of all layers: key and value of the first, key and value of the second, ...
    pub(crate) fn of(layers: usize, attention: Attention) -> Vec<Self> {
        (0..layers)
            .flat_map(|layer| [(layer, KeyValue::Key), (layer, KeyValue::Value)])
            .map(|(layer, kv)| Self {
                past: past(layer, attention, kv),
                present: present(layer, attention, kv),
            })
            .collect()
    }
}
