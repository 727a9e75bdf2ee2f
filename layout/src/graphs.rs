//! File and tensor names of the two layouts: the plain layout of the onnx-community deployments, which transformers.js and
//! others also read, and the fused layout, whose three graphs compute the same in fewer and cheaper calls.
//!
//! In the fused layout, the [text encoder](GraphFile::TextEncoder) embeds the prompt and computes the cross-attention caches.
//! The [decoder step](GraphFile::DecoderStep) embeds its tokens, writes the self-attention caches in place (each
//! `present.{layer}.decoder.*` is bound to the buffer of its `past_key_values.*`) and reads one row of cross-attention
//! caches for all rows (beams) of an image.
//!
//! Deployments of other origins have other names: see [`names`](crate::names).

use serde::{Deserialize, Serialize};

use crate::dtypes::Dtype;

/// The folder of the graphs inside a deployment.
pub const FOLDER: &str = "onnx";
/// Extension of a graph's file, after its [name](GraphFile::name) and dtype suffix.
pub const EXTENSION: &str = ".onnx";
/// Extension of a graph's file in ONNX Runtime's own format.
pub const ORT_EXTENSION: &str = ".ort";
/// Suffix of the file of a graph's external data, after the graph's file name: `x.onnx` → `x.onnx_data`.
pub const EXTERNAL_DATA_SUFFIX: &str = "_data";
/// All suffixes of external data in deployments; where a graph has several files, a number follows.
pub const EXTERNAL_DATA_SUFFIXES: [&str; 2] = [EXTERNAL_DATA_SUFFIX, ".data"];

/// Returns whether `path` has the name of a file of external data of the graph at `graph`.
pub fn is_external_data(path: &str, graph: &str) -> bool {
    let rest = path.strip_prefix(graph);
    rest.is_some_and(|rest| {
        EXTERNAL_DATA_SUFFIXES
            .iter()
            .any(|suffix| rest.starts_with(suffix))
    })
}

/// Returns whether `path` has the extension of a graph's file, in upper or lower case.
pub fn is_graph(path: &str) -> bool {
    let path = path.to_ascii_lowercase();
    path.ends_with(EXTENSION) || path.ends_with(ORT_EXTENSION)
}

/// The graphs of the layouts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum GraphFile {
    /// Both layouts: pixels to image features.
    VisionEncoder,
    /// Plain layout: token ids to embeddings.
    EmbedTokens,
    /// Plain layout: BART's encoder over image features and prompt embeddings.
    EncoderModel,
    /// Plain layout: the first decoder step; no caches as inputs, all caches as outputs.
    DecoderModel,
    /// Plain layout: first and further decoder steps in one graph, selected by `use_cache_branch`.
    DecoderModelMerged,
    /// Plain layout: further decoder steps; all caches as inputs, self-attention caches as outputs.
    DecoderWithPastModel,
    /// Fused layout: prompt ids and image features to hidden states and all cross-attention caches.
    TextEncoder,
    /// Fused layout: any decoder step, over caches of fixed capacity that are written in place.
    DecoderStep,
}

impl GraphFile {
    /// The graphs of the plain layout.
    pub const PLAIN: [GraphFile; 6] = [
        GraphFile::VisionEncoder,
        GraphFile::EmbedTokens,
        GraphFile::EncoderModel,
        GraphFile::DecoderModel,
        GraphFile::DecoderModelMerged,
        GraphFile::DecoderWithPastModel,
    ];

    /// The graphs of the fused layout.
    pub const FUSED: [GraphFile; 3] = [
        GraphFile::VisionEncoder,
        GraphFile::TextEncoder,
        GraphFile::DecoderStep,
    ];

    /// The graphs of both layouts.
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

    /// Returns the file name without dtype suffix and extension.
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

    /// Returns the name of the graph's file for a dtype: `decoder_step_int8.onnx`.
    pub fn file_name(self, dtype: Dtype) -> String {
        format!("{}{}{EXTENSION}", self.name(), dtype.suffix())
    }

    /// Returns the layout's name of the graph's input, if it needs one at most.
    pub const fn only_input(self) -> Option<&'static str> {
        match self {
            GraphFile::VisionEncoder => Some(PIXEL_VALUES),
            GraphFile::EmbedTokens => Some(INPUT_IDS),
            GraphFile::EncoderModel => Some(INPUTS_EMBEDS),
            _ => None,
        }
    }

    /// Returns the layout's name of the graph's output, if it needs one only.
    pub const fn only_output(self) -> Option<&'static str> {
        match self {
            GraphFile::VisionEncoder => Some(IMAGE_FEATURES),
            GraphFile::EmbedTokens => Some(INPUTS_EMBEDS),
            GraphFile::EncoderModel => Some(LAST_HIDDEN_STATE),
            _ => None,
        }
    }

    /// Returns the part of the model that the graph belongs to.
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

/// The three parts of the model, independent of the layout.
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
    /// The parts in the order of their use.
    pub const ALL: [ModelPart; 3] = [ModelPart::Vision, ModelPart::Text, ModelPart::Decoder];

    /// Returns the part's name in options: `vision`, `text`, `decoder`.
    pub const fn name(self) -> &'static str {
        match self {
            ModelPart::Vision => "vision",
            ModelPart::Text => "text",
            ModelPart::Decoder => "decoder",
        }
    }

    /// Splits an item of an option into the part it applies to and its value: `decoder=q4`, or `q4` for all parts.
    ///
    /// # Errors
    /// [`UnknownPart`] if no part has the name before the `=`.
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

/// A name that no [`ModelPart`] has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no part {name:?}; the parts are {}", ModelPart::ALL.map(ModelPart::name).join(", "))]
pub struct UnknownPart {
    /// The rejected name of a part.
    pub name: String,
}

/// Vision encoder input, `[batch, 3, height, width]`.
pub const PIXEL_VALUES: &str = "pixel_values";
/// Output of the vision encoder and input of the fused layout's text encoder, `[batch, image tokens, d_model]`.
pub const IMAGE_FEATURES: &str = "image_features";
/// Token ids, int64 `[batch, sequence]`: input of the embedding graph; in the fused layout, of the text encoder (prompts of
/// one length, without padding) and of the decoder step (`[rows, tokens]`).
pub const INPUT_IDS: &str = "input_ids";
/// Output of the embedding graph and input of the encoder and the decoders, `[batch, sequence, d_model]`.
pub const INPUTS_EMBEDS: &str = "inputs_embeds";
/// Encoder input, int64 `[batch, sequence]`: 1 for positions to attend to, 0 for padding.
pub const ATTENTION_MASK: &str = "attention_mask";
/// Output of the encoder and of the fused layout's text encoder, `[batch, sequence, d_model]`.
pub const LAST_HIDDEN_STATE: &str = "last_hidden_state";
/// Decoder input, int64 `[batch, encoder sequence]`.
pub const ENCODER_ATTENTION_MASK: &str = "encoder_attention_mask";
/// Decoder input, `[batch, encoder sequence, d_model]`.
pub const ENCODER_HIDDEN_STATES: &str = "encoder_hidden_states";
/// Merged decoder's input, bool `[1]`: false in the first step.
pub const USE_CACHE_BRANCH: &str = "use_cache_branch";
/// Decoder output, `[batch, sequence, vocabulary]`; in the fused layout `[rows, vocabulary]`, those after each row's last
/// token.
pub const LOGITS: &str = "logits";

/// Input of the decoder step, int32 `[rows]`: the number of tokens in each row's self-attention caches. The caches may hold
/// any finite values beyond them.
///
/// Rows of different lengths can share a step of one token. A step of several tokens per row requires empty caches or a
/// single row; with [`CACHES_ON_DEVICE`], a single row.
pub const PAST_SEQUENCE_LENGTHS: &str = "past_sequence_lengths";
/// Input of the decoder step, int32 `[images]`: the number of positions of each image's cross-attention caches to attend to;
/// the rest may hold any finite values. The rows of an image are adjacent, and every image has the same number of rows.
pub const ENCODER_SEQUENCE_LENGTHS: &str = "encoder_sequence_lengths";

/// Metadata key of a graph: the name of the dtype that it was exported in, or [`MIXED_Q4`].
pub const PRECISION: &str = "florence2.precision";
/// Value of [`PRECISION`] in the fused layout's `q4` graphs: the decoder's weights are `q4`, all others `int8`.
pub const MIXED_Q4: &str = "int4";

/// Metadata key of a decoder graph: `true` if mask, states and cross-attention caches may have one row for all rows of
/// `inputs_embeds` (the beams of one image).
pub const SHARED_ENCODER_ROW: &str = "florence2.shared_encoder_row";

/// Metadata key of a decoder step: `true` if its caches may be in device memory, since all its operators have kernels
/// there and none reads results back to the host. The caches are float32 or float16, as the graph declares them.
///
/// Several tokens in one step require a single row, whether its caches are empty or not.
pub const CACHES_ON_DEVICE: &str = "florence2.caches_on_device";

/// The attention that a cache belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Attention {
    /// Self-attention: keys and values of the decoder's tokens, which grow with each step.
    Decoder,
    /// Cross-attention: keys and values of the encoder's hidden states, which are constant.
    Encoder,
}

/// The keys or the values of an attention layer's cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyValue {
    /// Key.
    Key,
    /// Value.
    Value,
}

/// Prefix of the names of caches that are inputs.
const PAST: &str = "past_key_values.";
/// Prefix of the names of caches that are outputs.
const PRESENT: &str = "present.";

/// Returns whether `name` is the name of a cache, [`past`] or [`present`].
pub fn is_cache(name: &str) -> bool {
    [PAST, PRESENT].iter().any(|start| name.starts_with(start))
}

/// Returns a cache's name without `past_key_values.` or `present.`.
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

/// Returns the name of a decoder's input, `past_key_values.{layer}.{decoder,encoder}.{key,value}`: `[batch, heads, length,
/// head size]`; in the fused layout `[rows, heads, capacity, head size]` for self-attention and `[images, heads, encoder
/// sequence, head size]` for cross-attention.
pub fn past(layer: usize, attention: Attention, kv: KeyValue) -> String {
    format!("{PAST}{}", cache(layer, attention, kv))
}

/// Returns the kind of attention if `name` is a decoder's cache input, of any layer: the inverse of [`past`].
pub fn attention_of_past(name: &str) -> Option<Attention> {
    let (layer, _) = name.strip_prefix(PAST)?.split_once('.')?;
    let layer = layer.parse().ok()?;
    let is_of = |&attention: &Attention| {
        let mut kinds = [KeyValue::Key, KeyValue::Value].into_iter();
        kinds.any(|kv| past(layer, attention, kv) == name)
    };
    [Attention::Decoder, Attention::Encoder].into_iter().find(is_of)
}

/// Returns the name of a decoder's output, `present.{layer}.{decoder,encoder}.{key,value}`: `[batch, heads, length, head
/// size]`. In the fused layout, cross-attention caches are outputs of the text encoder.
pub fn present(layer: usize, attention: Attention, kv: KeyValue) -> String {
    format!("{PRESENT}{}", cache(layer, attention, kv))
}
