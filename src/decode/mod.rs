//! Decoding: from image features and a prompt to the logits of each step.
//!
//! A [`LanguageModel`] has the graphs of one layout, plain or fused. A [`DecodeSession`] decodes inputs with it: it is the
//! [`Decoder`](crate::generation::Decoder) of the generation loop.

mod cache_spec;
mod device_top_k;
mod fused;
mod kv_cache;
mod plain;
mod session;
mod slots;

use ndarray::{Array2, ArrayView2};

use self::fused::FusedModel;
use self::plain::PlainModel;
pub(crate) use self::session::DecodeSession;
use crate::bundle::{Bundle, LayoutKind};
use crate::error::{Error, Result};
use crate::generation::Logits;
use crate::metrics::Stopwatch;
use crate::runtime::{Placement, SessionOptions};
use crate::session::Graph;

/// One input of a decoding.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TextInput<'a> {
    /// `[image tokens, d_model]`
    pub(crate) features: ArrayView2<'a, f32>,
    /// Token ids.
    pub(crate) prompt: &'a [u32],
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct DecodingLimits {
    /// Inputs that are decoded at the same time.
    pub(crate) max_batch: usize,
    /// The maximum number of tokens that a row is fed, the start token included.
    pub(crate) max_length: usize,
    /// Whether searches mostly need the top-k logits only: the others may then stay in a device's memory until they
    /// are read.
    pub(crate) top_k: bool,
}

/// The times of a decoding. Clones share the sums.
#[derive(Debug, Clone, Default)]
pub(crate) struct DecodeTimes {
    /// Encoding the inputs.
    pub(crate) text_encoder: Stopwatch,
    /// Within ONNX Runtime, in the text encoder and the decoder.
    pub(crate) runtime: Stopwatch,
}

/// BART, in the graphs of one layout.
pub(crate) trait LanguageModel: Send + Sync {
    /// Returns the encoder's last hidden states, `[image tokens + prompt tokens, d_model]`.
    fn hidden_states(&self, input: TextInput<'_>) -> Result<Array2<f32>>;

    /// Returns where the nodes of each graph run.
    fn placements(&self) -> Vec<&Placement>;

    /// Returns the number of logits of each row, if the graphs fix it.
    fn vocabulary_size(&self) -> Option<usize>;

    /// Starts a decoding without sequences.
    fn start(&self, limits: DecodingLimits, times: DecodeTimes) -> Result<Box<dyn DecodeState + '_>>;
}

/// The sequences of a decoding, a row each, and their KV caches.
pub(crate) trait DecodeState {
    /// Returns the decoder's graph, for messages.
    fn graph(&self) -> &Graph;

    /// Returns the number of inputs that can be admitted together now, at most.
    fn admissible(&self) -> usize;

    /// Encodes inputs and adds a row for each after all other rows, fed with the tokens `prompt`. Returns the logits
    /// that follow, of the new rows only. `waiting` is the number of inputs to be admitted later.
    fn admit(&mut self, inputs: &[TextInput<'_>], prompt: &[u32], waiting: usize) -> Result<Logits<'_>>;

    /// Returns the number of rows.
    fn rows(&self) -> usize;

    /// Feeds each row a token. Returns the logits that follow.
    fn step(&mut self, tokens: &[u32]) -> Result<Logits<'_>>;

    /// Reorders the rows: new row `i` continues old row `parents[i]`. `waiting` is the number of inputs to be
    /// admitted later.
    fn reorder(&mut self, parents: &[usize], waiting: usize) -> Result<()>;

    /// Returns [`Error::NotFinite`] of the first graph whose outputs are not finite, if the latest logits are not.
    fn not_finite(&self) -> Error;
}

/// Loads the language model's graphs, in the layout that is complete and suits the devices. `pad` is the token that
/// pads the shorter prompts of a batch.
pub(crate) fn load_language_model(
    bundle: &Bundle,
    options: &SessionOptions,
    pad: u32,
) -> Result<Box<dyn LanguageModel>> {
    let layout = &bundle.layout;
    match layout.kind_for(options.wants_plain_decoder()?) {
        Some(LayoutKind::Fused) => Ok(Box::new(FusedModel::load(bundle, options)?)),
        Some(LayoutKind::Plain) => Ok(Box::new(PlainModel::load(bundle, options, pad)?)),
        None => Err(layout.incomplete(&bundle.source, layout.missing())),
    }
}
