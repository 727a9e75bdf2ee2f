//! The decoder's graphs: which take which step, and what their caches are called.

use florence2_layout::graphs::{
    Attention, ENCODER_ATTENTION_MASK, ENCODER_HIDDEN_STATES, INPUTS_EMBEDS, LOGITS, SHARED_ENCODER_ROW,
};

use crate::bundle::{Bundle, DecoderGraphs};
use crate::error::{Error, Result};
use crate::graph::session::{CacheNames, Graph};
use crate::runtime::SessionOptions;

/// The decoder's graphs, and the names of their caches.
pub(super) struct DecoderModel {
    /// Takes the first step.
    pub(super) first: Graph,
    /// Takes the further ones; `None` if `first` takes them too.
    next: Option<Graph>,
    /// Self-attention: key and value of each layer.
    pub(super) own: Vec<CacheNames>,
    /// Cross-attention: key and value of each layer.
    pub(super) cross: Vec<CacheNames>,
    /// Whether one row of what is attended to may serve all rows.
    pub(super) shared_encoder_row: bool,
}

impl DecoderModel {
    /// The best decoder graphs that ONNX Runtime takes: some published `decoder_model_merged` it refuses.
    pub(super) fn load(bundle: &Bundle, options: &SessionOptions) -> Result<Self> {
        let mut decoders = bundle.layout.decoders().peekable();
        while let Some(graphs) = decoders.next() {
            match (Self::load_graphs(bundle, graphs, options), decoders.peek()) {
                (Err(Error::Ort { context, source }), Some(others)) => {
                    tracing::warn!(%source, ?others, "failed {context}: other decoder graphs are used instead");
                }
                (result, _) => return result,
            }
        }
        Err(Error::InvalidBundle {
            path: bundle.source.path(""),
            reason: format!("missing: {}", bundle.layout.missing().join(", ")),
        })
    }

    fn load_graphs(bundle: &Bundle, graphs: DecoderGraphs, options: &SessionOptions) -> Result<Self> {
        let (first, next) = graphs.graphs();
        let next = if next == first {
            None
        } else {
            Some(Graph::load(bundle, next, options)?)
        };
        let first = Graph::load(bundle, first, options)?;
        let layers = first.layers_of_caches();
        let (own, cross) = (
            CacheNames::of(layers, Attention::Decoder),
            CacheNames::of(layers, Attention::Encoder),
        );
        let shared_encoder_row = [Some(&first), next.as_ref()]
            .into_iter()
            .flatten()
            .all(|graph| graph.claims(SHARED_ENCODER_ROW));
        let model = Self {
            first,
            next,
            own,
            cross,
            shared_encoder_row,
        };
        model.check()?;
        Ok(model)
    }

    /// The graph of the further steps.
    pub(super) fn next(&self) -> &Graph {
        self.next.as_ref().unwrap_or(&self.first)
    }

    /// The graphs that are loaded.
    pub(super) fn graphs(&self) -> impl Iterator<Item = &Graph> {
        [Some(&self.first), self.next.as_ref()].into_iter().flatten()
    }

    /// That both graphs have the tensors which a step binds.
    fn check(&self) -> Result<()> {
        if self.own.is_empty() {
            return Err(self
                .first
                .invalid("it gives no caches (`present.0.decoder.key`); export the model again"));
        }
        self.first.float_input(ENCODER_HIDDEN_STATES)?;
        for graph in [&self.first, self.next()] {
            graph.input(ENCODER_ATTENTION_MASK)?;
            graph.float_input(INPUTS_EMBEDS)?;
            graph.output(LOGITS)?;
        }
        for names in &self.own {
            self.next().output(&names.present)?;
        }
        for names in &self.cross {
            self.first.output(&names.present)?;
        }
        for names in self.own.iter().chain(&self.cross) {
            self.next().float_input(&names.past)?;
        }
        Ok(())
    }
}
