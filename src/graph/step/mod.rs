//! The graphs of the `step` layout: a text encoder that gives the cross-attention caches, and a decoder step that
//! writes its self-attention caches in place.
//!
//! The decoder's tensors are bound for many steps. On the processor, the caches are changed there between steps; for
//! another device, ONNX Runtime copies what is bound when it is bound, and would never see a change: there, the caches are
//! in the device's memory, and small graphs make others of them, or fill others, when rows move.

mod batch;
mod caches;
mod decoder;
mod decoder_step;
mod integers;
mod moves;
mod rows;
mod step_logits;
mod text_encoder;

use ndarray::Array2;

use self::decoder::StepDecoder;
use self::decoder_step::DecoderStep;
use self::text_encoder::TextEncoder;
use super::language_model::{Decoding, DecodingLimits, LanguageModel, TextInput};
use crate::bundle::Bundle;
use crate::error::Result;
use crate::runtime::{Placement, SessionOptions};

/// BART in the graphs of the `step` layout.
pub(super) struct StepModel {
    encoder: TextEncoder,
    decoder: DecoderStep,
}

impl StepModel {
    pub(super) fn load(bundle: &Bundle, options: &SessionOptions) -> Result<Self> {
        let decoder = DecoderStep::load(bundle, options)?;
        let encoder = TextEncoder::load(bundle, options, &decoder)?;
        Ok(Self { encoder, decoder })
    }
}

impl LanguageModel for StepModel {
    fn hidden_states(&self, input: TextInput<'_>) -> Result<Array2<f32>> {
        self.encoder.hidden_states(input)
    }

    fn placements(&self) -> Vec<&Placement> {
        vec![self.encoder.graph().placement(), self.decoder.graph().placement()]
    }

    fn vocabulary_size(&self) -> Option<usize> {
        Some(self.decoder.vocabulary())
    }

    fn start<'m>(&'m self, inputs: Vec<TextInput<'m>>, limits: DecodingLimits) -> Box<dyn Decoding + 'm> {
        Box::new(StepDecoder::new(self, inputs, limits))
    }
}
