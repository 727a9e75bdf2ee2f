//! File and tensor names of the two layouts: `plain`, that of the onnx-community deployments, which transformers.js and
//! others read too; and `step`, whose three graphs do what the plain ones do in fewer and cheaper calls.
//!
//! In the `step` layout, the [text encoder](GraphFile::TextEncoder) embeds the prompt itself and computes the decoder's
//! cross-attention caches, and the [decoder step](GraphFile::DecoderStep) embeds its tokens itself, writes its
//! self-attention caches in place (each `present.{layer}.decoder.*` is given the buffer of its `past_key_values.*`) and
//! reads one row of cross-attention caches for all rows (beams) of an image.

use crate::dtypes::Dtype;

/// The folder of the graphs inside a deployment.
pub const FOLDER: &str = "onnx";
/// What a graph's file is called, after its [name](GraphFile::name) and dtype suffix.
pub const EXTENSION: &str = ".onnx";
/// What the file of a graph's big weights is called, after the graph's file name: `x.onnx` → `x.onnx_data`.
pub const EXTERNAL_DATA_SUFFIX: &str = "_data";
/// What else it is called in deployments; where there are several files, a number follows.
pub const EXTERNAL_DATA_SUFFIXES: [&str; 2] = [EXTERNAL_DATA_SUFFIX, ".data"];

/// Whether `path` is, by its name, a file of the external data of the graph at `graph`.
pub fn is_external_data(path: &str, graph: &str) -> bool {
    let rest = path.strip_prefix(graph);
    rest.is_some_and(|rest| {
        EXTERNAL_DATA_SUFFIXES
            .iter()
            .any(|suffix| rest.starts_with(suffix))
    })
}

/// The graphs of the layouts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum GraphFile {
    /// Pixels to image features; in both layouts.
    VisionEncoder,
    /// Token ids to embeddings.
    EmbedTokens,
    /// BART's encoder over image features and prompt embeddings.
    EncoderModel,
    /// First decoder step: no past, gives all caches.
    DecoderModel,
    /// First and further decoder steps in one graph, chosen by `use_cache_branch`.
    DecoderModelMerged,
    /// Further decoder steps: takes all caches, gives the self-attention ones.
    DecoderWithPastModel,
    /// `step` layout: prompt ids and image features to hidden states and all cross-attention caches.
    TextEncoder,
    /// `step` layout: any step of the decoder, over caches of fixed capacity that it writes in place.
    DecoderStep,
}

impl GraphFile {
    /// The graphs of the `plain` layout.
    pub const PLAIN: [GraphFile; 6] = [
        GraphFile::VisionEncoder,
        GraphFile::EmbedTokens,
        GraphFile::EncoderModel,
        GraphFile::DecoderModel,
        GraphFile::DecoderModelMerged,
        GraphFile::DecoderWithPastModel,
    ];

    /// The graphs of the `step` layout.
    pub const STEP: [GraphFile; 3] = [
        GraphFile::VisionEncoder,
        GraphFile::TextEncoder,
        GraphFile::DecoderStep,
    ];

    /// All graphs.
    pub const ALL: [GraphFile; 8] = [
        GraphFile::VisionEncoder,
        GraphFile::EmbedTokens,
        GraphFile::EncoderModel,
        GraphFile::DecoderModel,
        GraphFile::DecoderModelMerged,
        GraphFile::DecoderWithPastModel,
        GraphFile::TextEncoder,
        GraphFile::DecoderStep,
    ];

    /// File name without dtype suffix and extension.
    pub const fn name(self) -> &'static str {
        match self {
            GraphFile::VisionEncoder => "vision_encoder",
            GraphFile::EmbedTokens => "embed_tokens",
            GraphFile::EncoderModel => "encoder_model",
            GraphFile::DecoderModel => "decoder_model",
            GraphFile::DecoderModelMerged => "decoder_model_merged",
            GraphFile::DecoderWithPastModel => "decoder_with_past_model",
            GraphFile::TextEncoder => "text_encoder",
            GraphFile::DecoderStep => "decoder_step",
        }
    }

    /// What older exports call it in a file's name, with hyphens for underscores.
    pub const fn older_name(self) -> Option<&'static str> {
        match self {
            GraphFile::EncoderModel => Some("encoder"),
            GraphFile::DecoderModel => Some("decoder"),
            GraphFile::DecoderModelMerged => Some("decoder_merged"),
            GraphFile::DecoderWithPastModel => Some("decoder_with_past"),
            GraphFile::VisionEncoder
            | GraphFile::EmbedTokens
            | GraphFile::TextEncoder
            | GraphFile::DecoderStep => None,
        }
    }

    /// The name of the graph's file, with the suffix of its numbers' type: `decoder_step_int8.onnx`.
    pub fn file_name(self, dtype: Dtype) -> String {
        format!("{}{}{EXTENSION}", self.name(), dtype.suffix())
    }

    /// The part of the model that the graph is of.
    pub const fn part(self) -> ModelPart {
        match self {
            GraphFile::VisionEncoder => ModelPart::Vision,
            GraphFile::EmbedTokens | GraphFile::EncoderModel | GraphFile::TextEncoder => ModelPart::Text,
            GraphFile::DecoderModel
            | GraphFile::DecoderModelMerged
            | GraphFile::DecoderWithPastModel
            | GraphFile::DecoderStep => ModelPart::Decoder,
        }
    }
}

/// The parts of the model, in whichever graphs a layout has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ModelPart {
    /// Pixels to image features.
    Vision,
    /// Token embeddings and BART's encoder.
    Text,
    /// BART's decoder.
    Decoder,
}

impl ModelPart {
    /// All parts.
    pub const ALL: [ModelPart; 3] = [ModelPart::Vision, ModelPart::Text, ModelPart::Decoder];

    /// What users call it: `vision`, `text`, `decoder`.
    pub const fn name(self) -> &'static str {
        match self {
            ModelPart::Vision => "vision",
            ModelPart::Text => "text",
            ModelPart::Decoder => "decoder",
        }
    }

    /// Splits what is said of a part (`decoder=q4`) from what is said of all (`q4`).
    ///
    /// # Errors
    /// [`UnknownPart`] if there is a name before the `=` that is no part's.
    pub fn split(item: &str) -> Result<(Option<Self>, &str), UnknownPart> {
        let Some((name, value)) = item.split_once('=') else {
            return Ok((None, item.trim()));
        };
        let name = name.trim();
        let part = Self::ALL.into_iter().find(|part| part.name() == name);
        let part = part.ok_or_else(|| UnknownPart {
            name: name.to_owned(),
        })?;
        Ok((Some(part), value.trim()))
    }
}

/// A name that is no part's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no part {name:?}; the parts are {}", ModelPart::ALL.map(ModelPart::name).join(", "))]
pub struct UnknownPart {
    /// The name as given.
    pub name: String,
}

/// Vision encoder input, `[batch, 3, height, width]`.
pub const PIXEL_VALUES: &str = "pixel_values";
/// Vision encoder output and input of the `step` layout's text encoder, `[batch, image tokens, d_model]`.
pub const IMAGE_FEATURES: &str = "image_features";
/// Embedding input, int64 `[batch, sequence]`; in the `step` layout, input of the text encoder (the prompt; all rows of
/// one length, without padding) and of the decoder step (`[rows, tokens]`).
pub const INPUT_IDS: &str = "input_ids";
/// Embedding output; input of the encoder and the decoders, `[batch, sequence, d_model]`.
pub const INPUTS_EMBEDS: &str = "inputs_embeds";
/// Encoder input, int64 `[batch, sequence]`: 1 for what is to be attended to.
pub const ATTENTION_MASK: &str = "attention_mask";
/// Encoder output, `[batch, sequence, d_model]`; of the `step` layout's text encoder too.
pub const LAST_HIDDEN_STATE: &str = "last_hidden_state";
/// Decoder input, int64 `[batch, encoder sequence]`.
pub const ENCODER_ATTENTION_MASK: &str = "encoder_attention_mask";
/// Decoder input, `[batch, encoder sequence, d_model]`.
pub const ENCODER_HIDDEN_STATES: &str = "encoder_hidden_states";
/// Merged decoder's input, bool `[1]`: false in the first step.
pub const USE_CACHE_BRANCH: &str = "use_cache_branch";
/// Decoder output, `[batch, sequence, vocabulary]`; in the `step` layout `[rows, vocabulary]`, after each row's last token.
pub const LOGITS: &str = "logits";

/// Decoder step's input, int32 `[rows]`: how many tokens each row's self-attention caches hold already. What lies behind
/// them may be anything finite.
///
/// Rows of different lengths can share a step of one token. Several tokens a row are for the first step, where nothing
/// is past yet; over a past, a single row may have them too. (With [`CACHES_ON_DEVICE`], in the first step too.)
pub const PAST_SEQUENCE_LENGTHS: &str = "past_sequence_lengths";
/// Decoder step's input, int32 `[images]`: how much of each image's cross-attention caches is to be attended to; the rest
/// may be anything finite. The rows of an image follow each other; each image has as many.
pub const ENCODER_SEQUENCE_LENGTHS: &str = "encoder_sequence_lengths";

/// Metadata key of a graph: the precision that it was exported with, by the exporter's name for it (`fp32`, `int8`).
pub const PRECISION: &str = "florence2.precision";

/// Metadata key of a decoder graph, `true` if one row of mask, states and cross-attention caches may serve all rows of
/// `inputs_embeds` (the beams of one image).
pub const SHARED_ENCODER_ROW: &str = "florence2.shared_encoder_row";

/// Metadata key of a decoder step, `true` if its caches may lie in a device's memory: all its operators have kernels
/// there, and none waits for what is computed there. The caches are float32 or float16, as the graph declares them.
///
/// Such a step takes several tokens of one row only, past or not: it is not told that nothing is past.
pub const CACHES_ON_DEVICE: &str = "florence2.caches_on_device";

/// Whose keys and values a cache holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Attention {
    /// The decoder's own (self-attention): grows with each step.
    Decoder,
    /// The encoder's (cross-attention): constant.
    Encoder,
}

/// Key or value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyValue {
    /// Key.
    Key,
    /// Value.
    Value,
}

/// How the name of a cache begins that goes into a graph.
const PAST: &str = "past_key_values.";
/// How the name of a cache begins that a graph gives.
const PRESENT: &str = "present.";

/// Whether `name` is a cache's, [`past`] or [`present`].
pub fn is_cache(name: &str) -> bool {
    [PAST, PRESENT].iter().any(|start| name.starts_with(start))
}

/// The part of a cache tensor's name after `past_key_values.` or `present.`.
fn cache(layer: usize, attention: Attention, kv: KeyValue) -> String {
    let attention = match attention {
        Attention::Decoder => "decoder",
        Attention::Encoder => "encoder",
    };
    let kv = match kv {
        KeyValue::Key => "key",
        KeyValue::Value => "value",
    };
    format!("{layer}.{attention}.{kv}")
}

/// Decoder input, `[batch, heads, length, head size]`; in the `step` layout `[rows, heads, capacity, head size]` for the
/// decoder's own, `[images, heads, encoder sequence, head size]` for the encoder's: `past_key_values.{layer}.{decoder,encoder}.{key,value}`.
pub fn past(layer: usize, attention: Attention, kv: KeyValue) -> String {
    format!("{PAST}{}", cache(layer, attention, kv))
}

/// Whose keys and values the decoder input of this name holds, if it is a cache of any layer: [`past`], read.
pub fn attention_of_past(name: &str) -> Option<Attention> {
    let (layer, _) = name.strip_prefix(PAST)?.split_once('.')?;
    let layer = layer.parse().ok()?;
    let is_of = |&attention: &Attention| {
        let mut kinds = [KeyValue::Key, KeyValue::Value].into_iter();
        kinds.any(|kv| past(layer, attention, kv) == name)
    };
    [Attention::Decoder, Attention::Encoder].into_iter().find(is_of)
}

/// Decoder output, `[batch, heads, length, head size]`; in the `step` layout the text encoder gives the encoder's, the
/// decoder step its own: `present.{layer}.{decoder,encoder}.{key,value}`.
pub fn present(layer: usize, attention: Attention, kv: KeyValue) -> String {
    format!("{PRESENT}{}", cache(layer, attention, kv))
}
