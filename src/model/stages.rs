//! Single stages between image features and an answer, for debugging and for scoring given answers.

use ndarray::{Array1, Array2};

use super::{Florence2, ImageFeatures};
use crate::decode::{DecodeSession, DecodingLimits, TextInput};
use crate::error::{Error, Result};
use crate::generation::{Decoder, invalid_decoder};
use crate::geometry::ImageSize;
use crate::output::Parsed;
use crate::postprocess::{self, RawAnswer};
use crate::task::Task;

impl Florence2 {
    /// Returns the encoder's last hidden states, `[image tokens + prompt tokens, d_model]`.
    ///
    /// # Errors
    /// As [`prompt_ids`](Self::prompt_ids); errors of ONNX Runtime.
    pub fn encoder_hidden_states(&self, image: &ImageFeatures, task: &Task) -> Result<Array2<f32>> {
        self.language.hidden_states(TextInput {
            features: image.view(),
            prompt: &self.prompt_ids(image, task)?,
        })
    }

    /// Returns the logits, `[vocabulary]`, that follow `decoder_input_ids`, which begin with the decoder's start token.
    ///
    /// # Errors
    /// As [`prompt_ids`](Self::prompt_ids), [`Error::InvalidOption`] without any id or with more than the model has
    /// positions; errors of ONNX Runtime.
    pub fn next_token_logits(
        &self,
        image: &ImageFeatures,
        task: &Task,
        decoder_input_ids: &[u32],
    ) -> Result<Array1<f32>> {
        let max_length = self.generation.max_positions;
        if decoder_input_ids.is_empty() || decoder_input_ids.len() > max_length {
            return Err(Error::InvalidOption {
                name: "decoder_input_ids",
                reason: format!("must begin with the decoder's start token, and be {max_length} at most"),
            });
        }
        let prompt = self.prompt_ids(image, task)?;
        let input = TextInput {
            features: image.view(),
            prompt: &prompt,
        };
        let limits = DecodingLimits {
            max_batch: 1,
            max_length,
            top_k: false,
        };
        let mut session = DecodeSession::new(&*self.language, vec![input], limits)?;
        let logits = session
            .admit(decoder_input_ids)?
            .ok_or_else(|| invalid_decoder("it returned no logits".into()))?;
        Ok(logits.row(0)?.to_owned())
    }

    /// Parses an answer to a task about an image of `image_size` pixels: `raw_text` with its special tokens. Instances have no
    /// scores.
    pub fn parse(&self, task: &Task, raw_text: &str, image_size: ImageSize) -> Parsed {
        let answer = RawAnswer {
            text: raw_text,
            tokens: None,
        };
        postprocess::parse(
            self.prompts.output_kind(task),
            &answer,
            image_size,
            &self.parse_options,
        )
    }
}
