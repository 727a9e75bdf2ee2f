//! BART, in whichever graphs a bundle has it.

use ndarray::{Array2, ArrayView2};

use super::plain::PlainModel;
use super::step::StepModel;
use crate::bundle::{Bundle, LayoutKind};
use crate::error::{Error, Result};
use crate::generation::{DECODER, Decoder};
use crate::metrics::DecodingTimes;
use crate::runtime::{Placement, SessionOptions};

/// What is asked about an image.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TextInput<'a> {
    /// `[image tokens, d_model]`
    pub(crate) features: ArrayView2<'a, f32>,
    /// The prompt's token ids.
    pub(crate) prompt: &'a [u32],
}

/// What a decoding may need.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DecodingLimits {
    /// Inputs that are decoded at the same time.
    pub(crate) max_batch: usize,
    /// Tokens that a row is fed, the start token included.
    pub(crate) max_length: usize,
    /// Whether the best logits of a step should do: the others may stay where the decoder runs, until they are asked for.
    pub(crate) best_are_enough: bool,
}

/// BART: from image features and a prompt to logits.
pub(crate) trait LanguageModel: Send + Sync {
    /// The encoder's last hidden states, `[image tokens + prompt tokens, d_model]`.
    fn hidden_states(&self, input: TextInput<'_>) -> Result<Array2<f32>>;

    /// Where the nodes of its graphs run.
    fn placements(&self) -> Vec<&Placement>;

    /// Tokens that are scored, if the graphs fix their number.
    fn vocabulary_size(&self) -> Option<usize>;

    /// A decoding of these inputs, which join it in their order.
    fn start<'m>(&'m self, inputs: Vec<TextInput<'m>>, limits: DecodingLimits) -> Box<dyn Decoding + 'm>;
}

/// A decoding that knows where its time went.
pub(crate) trait Decoding: Decoder {
    /// What was spent so far.
    fn times(&self) -> DecodingTimes;

    /// The error of a search over this decoding. Where the search found logits that are not finite, it names the graph
    /// that made them so.
    fn named(&self, error: Error) -> Error {
        match error {
            Error::NotFinite { graph, .. } if graph == DECODER => self.cause(),
            other => other,
        }
    }

    /// Returns [`Error::NotFinite`] of the first graph with outputs that are not finite, the latest logits being so.
    fn cause(&self) -> Error;
}

/// Loads the language model's graphs, of the layout in which the model is whole and whose decoder its devices can run. In
/// batches, shorter prompts may be filled up with `pad`.
pub(crate) fn load(bundle: &Bundle, options: &SessionOptions, pad: u32) -> Result<Box<dyn LanguageModel>> {
    let layout = &bundle.layout;
    match layout.kind_for(options.wants_plain_decoder()?) {
        // Which may refuse the devices.
        Some(LayoutKind::Step) => Ok(Box::new(StepModel::load(bundle, options)?)),
        Some(LayoutKind::Plain) => Ok(Box::new(PlainModel::load(bundle, options, pad)?)),
        None => Err(Error::InvalidBundle {
            path: bundle.source.path(""),
            reason: format!("missing: {}", layout.missing().join(", ")),
        }),
    }
}
