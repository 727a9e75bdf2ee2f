//! The plain layout's graphs: embedding, encoder, and decoders that return new caches in each step.

mod decoder;
mod dynamic_quantization;
mod state;
mod text_encoder;

use florence2_layout::graphs::{ATTENTION_MASK, ENCODER_ATTENTION_MASK};
use ndarray::{Array2, Axis};

use self::decoder::PlainDecoder;
use self::state::PlainState;
use self::text_encoder::{load_embedding, load_encoder};
use super::{DecodeState, DecodeTimes, DecodingLimits, LanguageModel, TextInput};
use crate::bundle::Bundle;
use crate::error::Result;
use crate::metrics::Stopwatch;
use crate::runtime::{Placement, SessionOptions};
use crate::session::Graph;

/// BART in the plain layout's graphs.
pub(super) struct PlainModel {
    embedding: Graph,
    encoder: Graph,
    decoder: PlainDecoder,
    /// Whether all graphs take attention masks. If not, inputs of different lengths cannot share a batch.
    is_masked: bool,
    /// The token that pads the shorter prompts of a batch.
    pad: u32,
}

impl PlainModel {
    pub(super) fn load(bundle: &Bundle, options: &SessionOptions, pad: u32) -> Result<Self> {
        let embedding = load_embedding(bundle, options)?;
        let encoder = load_encoder(bundle, options)?;
        let decoder = PlainDecoder::load(bundle, options)?;
        let mut decoders = decoder.graphs();
        let is_masked = encoder.has_input(ATTENTION_MASK)
            && decoders.all(|graph| graph.has_input(ENCODER_ATTENTION_MASK));
        drop(decoders);
        Ok(Self {
            embedding,
            encoder,
            decoder,
            is_masked,
            pad,
        })
    }
}

impl LanguageModel for PlainModel {
    fn hidden_states(&self, input: TextInput<'_>) -> Result<Array2<f32>> {
        let encoded = self.encode(&[input], &Stopwatch::default())?;
        Ok(encoded.hidden_states.index_axis_move(Axis(0), 0))
    }

    fn placements(&self) -> Vec<&Placement> {
        let mut graphs = vec![&self.embedding, &self.encoder];
        graphs.extend(self.decoder.graphs());
        graphs.into_iter().map(Graph::placement).collect()
    }

    fn vocabulary_size(&self) -> Option<usize> {
        self.decoder.vocabulary_size()
    }

    fn start(&self, limits: DecodingLimits, times: DecodeTimes) -> Result<Box<dyn DecodeState + '_>> {
        Ok(Box::new(PlainState::new(self, limits, times)?))
    }
}
