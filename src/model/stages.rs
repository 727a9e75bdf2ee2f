//! The stages between image features and an answer, one by one: for debugging, and for scoring given answers.

use ndarray::{Array1, Array2, ArrayView1, Axis};

use super::{Florence2, ImageFeatures};
use crate::error::{Error, Result};
use crate::generation::Decoder;
use crate::graph::{EncoderOutput, GraphDecoder};
use crate::task::Task;

impl Florence2 {
    /// The prompt's token ids, as the encoder gets them after the image tokens.
    ///
    /// # Errors
    /// If the task's region is not inside the image, or the prompt is too long for the model.
    pub fn prompt_ids(&self, image: &ImageFeatures, task: &Task) -> Result<Vec<u32>> {
        let prompt = self.prompts.prompt(task, image.size)?;
        let ids = self.tokenizer.encode_prompt(&prompt)?;
        let (tokens, limit) = (image.features.nrows() + ids.len(), self.generation.max_positions);
        if tokens > limit {
            return Err(Error::PromptTooLong { tokens, limit });
        }
        Ok(ids)
    }

    /// The encoder's last hidden states, `[image tokens + prompt tokens, d_model]`.
    ///
    /// # Errors
    /// As [`prompt_ids`](Self::prompt_ids), and what ONNX Runtime reports.
    pub fn encoder_hidden_states(&self, image: &ImageFeatures, task: &Task) -> Result<Array2<f32>> {
        Ok(self
            .encode(image, task)?
            .hidden_states
            .index_axis_move(Axis(0), 0))
    }

    /// The logits that follow `decoder_input_ids` (which begin with the decoder's start token), `[vocabulary]`.
    ///
    /// # Errors
    /// As [`prompt_ids`](Self::prompt_ids), [`Error::InvalidOption`] without any id, and what ONNX Runtime reports.
    pub fn next_token_logits(
        &self,
        image: &ImageFeatures,
        task: &Task,
        decoder_input_ids: &[u32],
    ) -> Result<Array1<f32>> {
        if decoder_input_ids.is_empty() {
            return Err(Error::InvalidOption {
                name: "decoder_input_ids",
                reason: "must begin with the decoder's start token".into(),
            });
        }
        let encoder = self.encode(image, task)?;
        let mut decoder = GraphDecoder::start(&self.decoder, &self.embedding, &encoder)?;
        let logits = decoder.step(ArrayView1::from(decoder_input_ids).insert_axis(Axis(0)))?;
        Ok(logits.index_axis(Axis(0), 0).to_owned())
    }

    fn encode(&self, image: &ImageFeatures, task: &Task) -> Result<EncoderOutput> {
        let prompt = self.prompt_ids(image, task)?;
        self.encoder
            .run(&self.embedding, &[(image.view(), &prompt)], self.tokenizer.pad())
    }
}
