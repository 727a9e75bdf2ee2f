//! The fused layout's graphs: a text encoder that gives the cross-attention caches, and a decoder step that writes its
//! self-attention caches in place.

mod decoder;
mod state;
mod tensors;
mod text_encoder;

use ndarray::Array2;

use self::decoder::FusedDecoder;
use self::state::FusedState;
use self::text_encoder::load_encoder;
use super::{DecodeState, DecodeTimes, DecodingLimits, LanguageModel, TextInput};
use crate::bundle::Bundle;
use crate::error::Result;
use crate::runtime::{Placement, SessionOptions};
use crate::session::Graph;

/// BART in the fused layout's graphs.
pub(super) struct FusedModel {
    encoder: Graph,
    decoder: FusedDecoder,
}

impl FusedModel {
    pub(super) fn load(bundle: &Bundle, options: &SessionOptions) -> Result<Self> {
        let decoder = FusedDecoder::load(bundle, options)?;
        let encoder = load_encoder(bundle, options, &decoder)?;
        Ok(Self { encoder, decoder })
    }
}

impl LanguageModel for FusedModel {
    fn hidden_states(&self, input: TextInput<'_>) -> Result<Array2<f32>> {
        self.last_hidden_states(input)
    }

    fn placements(&self) -> Vec<&Placement> {
        vec![self.encoder.placement(), self.decoder.graph().placement()]
    }

    fn vocabulary_size(&self) -> Option<usize> {
        Some(self.decoder.vocabulary())
    }

    fn start(&self, limits: DecodingLimits, times: DecodeTimes) -> Result<Box<dyn DecodeState + '_>> {
        Ok(Box::new(FusedState::new(self, limits, times)?))
    }
}
