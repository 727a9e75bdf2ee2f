//! What the axes of the `plain` layout's inputs count: which sizes may differ from run to run, and which go together.

use crate::graphs::{
    ATTENTION_MASK, Attention, ENCODER_ATTENTION_MASK, ENCODER_HIDDEN_STATES, GraphFile, INPUT_IDS,
    INPUTS_EMBEDS, PIXEL_VALUES, attention_of_past,
};

/// What an axis counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Axis {
    /// Images whose features are computed together.
    Images,
    /// Rows of pixels.
    Height,
    /// Columns of pixels.
    Width,
    /// Inputs (an image's features and a prompt) that are encoded together, and begin to be decoded together.
    Inputs,
    /// Sequences that a step of the decoder extends: the beams of all inputs. Also the rows of what they attend to: as
    /// many, or one for all of them.
    Rows,
    /// Tokens that are embedded together: those of a prompt, or of a step of the decoder.
    Tokens,
    /// Tokens that are attended to: those of the image and of the prompt.
    EncoderTokens,
    /// Tokens that the decoder's first step takes of each input: its start token, and what is forced to follow.
    FirstTokens,
    /// Tokens that a further step takes of each row: one.
    NextTokens,
    /// Tokens of each row that earlier steps took.
    PastTokens,
    /// Channels, heads, features: a size of the model's.
    Model,
}

/// The axes of the inputs, but for the decoders' caches.
const INPUTS: &[(GraphFile, &str, &[Axis])] = &[
    (
        GraphFile::VisionEncoder,
        PIXEL_VALUES,
        &[Axis::Images, Axis::Model, Axis::Height, Axis::Width],
    ),
    (GraphFile::EmbedTokens, INPUT_IDS, &[Axis::Rows, Axis::Tokens]),
    (
        GraphFile::EncoderModel,
        INPUTS_EMBEDS,
        &[Axis::Inputs, Axis::EncoderTokens, Axis::Model],
    ),
    (
        GraphFile::EncoderModel,
        ATTENTION_MASK,
        &[Axis::Inputs, Axis::EncoderTokens],
    ),
    (
        GraphFile::DecoderModel,
        INPUTS_EMBEDS,
        &[Axis::Inputs, Axis::FirstTokens, Axis::Model],
    ),
    (
        GraphFile::DecoderModel,
        ENCODER_ATTENTION_MASK,
        &[Axis::Inputs, Axis::EncoderTokens],
    ),
    (
        GraphFile::DecoderModel,
        ENCODER_HIDDEN_STATES,
        &[Axis::Inputs, Axis::EncoderTokens, Axis::Model],
    ),
    (
        GraphFile::DecoderWithPastModel,
        INPUTS_EMBEDS,
        &[Axis::Rows, Axis::NextTokens, Axis::Model],
    ),
    (
        GraphFile::DecoderWithPastModel,
        ENCODER_ATTENTION_MASK,
        &[Axis::Rows, Axis::EncoderTokens],
    ),
    (
        GraphFile::DecoderWithPastModel,
        ENCODER_HIDDEN_STATES,
        &[Axis::Rows, Axis::EncoderTokens, Axis::Model],
    ),
];

/// The axes of the caches that a further step of the decoder takes, by whose keys and values they hold.
const CACHES: [(Attention, &[Axis]); 2] = [
    (
        Attention::Decoder,
        &[Axis::Rows, Axis::Model, Axis::PastTokens, Axis::Model],
    ),
    (
        Attention::Encoder,
        &[Axis::Rows, Axis::Model, Axis::EncoderTokens, Axis::Model],
    ),
];

/// The axes of a graph's input, outermost first; `None` if it is not among the `plain` layout's. Those of
/// [`GraphFile::DecoderModelMerged`] are not, for they count other things in its first run than in the further ones.
pub fn input_axes(graph: GraphFile, input: &str) -> Option<&'static [Axis]> {
    let listed = INPUTS.iter().find(|row| (row.0, row.1) == (graph, input));
    if let Some((_, _, axes)) = listed {
        return Some(axes);
    }
    let attention = attention_of_past(input).filter(|_| graph == GraphFile::DecoderWithPastModel)?;
    let caches = CACHES.iter().find(|(of, _)| *of == attention);
    caches.map(|(_, axes)| *axes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graphs::{KeyValue, USE_CACHE_BRANCH, past, present};

    #[test]
    fn axes_are_of_inputs_of_a_graph() {
        let axes = input_axes(GraphFile::EmbedTokens, INPUT_IDS);
        assert_eq!(axes, Some(&[Axis::Rows, Axis::Tokens][..]));
        assert_eq!(input_axes(GraphFile::VisionEncoder, INPUT_IDS), None);
        let further = GraphFile::DecoderWithPastModel;
        assert_eq!(input_axes(further, USE_CACHE_BRANCH), None);
        let own = past(11, Attention::Decoder, KeyValue::Value);
        assert_eq!(input_axes(further, &own).unwrap()[2], Axis::PastTokens);
        let cross = past(0, Attention::Encoder, KeyValue::Key);
        assert_eq!(input_axes(further, &cross).unwrap()[2], Axis::EncoderTokens);
        assert_eq!(input_axes(GraphFile::DecoderModel, &own), None);
        assert_eq!(
            input_axes(further, &present(0, Attention::Decoder, KeyValue::Key)),
            None
        );
    }

    #[test]
    fn the_merged_decoders_axes_are_not_known() {
        for input in [INPUTS_EMBEDS, ENCODER_ATTENTION_MASK, ENCODER_HIDDEN_STATES] {
            assert_eq!(input_axes(GraphFile::DecoderModelMerged, input), None);
        }
    }
}
