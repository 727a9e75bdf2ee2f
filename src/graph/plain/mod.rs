//! The graphs of the `plain` layout: embedding, encoder, and decoders that give new caches at each step.

mod batch;
mod decoder;
mod decoder_model;
mod operators;
mod text_encoder;

use ndarray::{Array2, Axis};

use self::decoder::PlainDecoder;
use self::decoder_model::DecoderModel;
use self::text_encoder::{EncoderOutput, TextEncoder, TokenEmbedding};
use super::language_model::{Decoding, DecodingLimits, LanguageModel, TextInput};
use super::session::Graph;
use crate::bundle::Bundle;
use crate::error::Result;
use crate::runtime::{Placement, SessionOptions};

/// BART in the graphs of the `plain` layout.
pub(super) struct PlainModel {
    embedding: TokenEmbedding,
    encoder: TextEncoder,
    decoder: DecoderModel,
    /// What fills up shorter prompts.
    pad: u32,
}

impl PlainModel {
    pub(super) fn load(bundle: &Bundle, options: &SessionOptions, pad: u32) -> Result<Self> {
        Ok(Self {
            embedding: TokenEmbedding::load(bundle, options)?,
            encoder: TextEncoder::load(bundle, options)?,
            decoder: DecoderModel::load(bundle, options)?,
            pad,
        })
    }

    /// Encodes inputs together; adds the time within the runtime to `runtime`.
    fn encode(&self, inputs: &[TextInput<'_>], runtime: &mut f64) -> Result<EncoderOutput> {
        self.encoder.run(&self.embedding, inputs, self.pad, runtime)
    }
}

impl LanguageModel for PlainModel {
    fn hidden_states(&self, input: TextInput<'_>) -> Result<Array2<f32>> {
        let encoded = self.encode(&[input], &mut 0.0)?;
        Ok(encoded.hidden_states.index_axis_move(Axis(0), 0))
    }

    fn placements(&self) -> Vec<&Placement> {
        let mut graphs = vec![self.embedding.graph(), self.encoder.graph()];
        graphs.extend(self.decoder.graphs());
        graphs.into_iter().map(Graph::placement).collect()
    }

    fn vocabulary_size(&self) -> Option<usize> {
        self.decoder.vocabulary_size()
    }

    fn start<'m>(&'m self, inputs: Vec<TextInput<'m>>, limits: DecodingLimits) -> Box<dyn Decoding + 'm> {
        Box::new(PlainDecoder::new(self, inputs, limits))
    }
}
