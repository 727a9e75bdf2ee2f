//! Image features and prompt ids to the encoder's hidden states.

use florence2_layout::graphs::{ATTENTION_MASK, GraphFile, INPUT_IDS, INPUTS_EMBEDS, LAST_HIDDEN_STATE};
use ndarray::{Array2, Array3, ArrayView2, Axis, s};

use super::PlainModel;
use crate::bundle::Bundle;
use crate::decode::TextInput;
use crate::error::Result;
use crate::metrics::Stopwatch;
use crate::runtime::SessionOptions;
use crate::session::{Graph, TextSizes, tensor};

/// Loads the embedding table.
pub(super) fn load_embedding(bundle: &Bundle, options: &SessionOptions) -> Result<Graph> {
    let graph = Graph::load(bundle, GraphFile::EmbedTokens, options)?;
    graph.input(INPUT_IDS)?;
    graph.takes_integers(INPUT_IDS, |_| true)?;
    graph.float_output(INPUTS_EMBEDS)?;
    let d_model = TextSizes::of(bundle).d_model;
    graph.check_size(graph.output(INPUTS_EMBEDS)?, 2, d_model, TextSizes::D_MODEL)?;
    Ok(graph)
}

/// Loads BART's encoder.
pub(super) fn load_encoder(bundle: &Bundle, options: &SessionOptions) -> Result<Graph> {
    let graph = Graph::load(bundle, GraphFile::EncoderModel, options)?;
    graph.float_input(INPUTS_EMBEDS)?;
    graph.takes_integers(ATTENTION_MASK, |name| name == INPUTS_EMBEDS)?;
    graph.float_output(LAST_HIDDEN_STATE)?;
    let d_model = TextSizes::of(bundle).d_model;
    for spec in [graph.input(INPUTS_EMBEDS)?, graph.output(LAST_HIDDEN_STATE)?] {
        graph.check_size(spec, 2, d_model, TextSizes::D_MODEL)?;
    }
    Ok(graph)
}

/// Checks that an output has the shape `[rows, tokens, d_model]`.
fn check_tokens(graph: &Graph, name: &str, output: &Array3<f32>, wanted: (usize, usize)) -> Result<()> {
    let (rows, tokens, _) = output.dim();
    if (rows, tokens) != wanted {
        let (found, (rows, tokens)) = (output.dim(), wanted);
        let reason = format!("{name} has shape {found:?} for {rows} rows of {tokens} tokens");
        return Err(graph.invalid(reason));
    }
    Ok(())
}

/// The encoder's output.
#[derive(Debug, Clone)]
pub(super) struct EncoderOutput {
    /// `[inputs, sequence, d_model]`: image tokens, then the prompt, then padding.
    pub(super) hidden_states: Array3<f32>,
    /// `[inputs, sequence]`: 1 for tokens that are attended to.
    pub(super) attention_mask: Array2<i64>,
}

impl PlainModel {
    /// Returns the embeddings of ids, `[batch, sequence]`: `[batch, sequence, d_model]`.
    pub(super) fn embed(&self, ids: ArrayView2<'_, u32>, clock: &Stopwatch) -> Result<Array3<f32>> {
        let graph = &self.embedding;
        let values = ids.iter().map(|&id| i64::from(id)).collect();
        let input = tensor::integers(ids.shape(), values)?;
        let mut outputs = graph.run(vec![(INPUT_IDS, input.into())], clock)?;
        let embeds = outputs.take_finite(INPUTS_EMBEDS)?;
        check_tokens(graph, INPUTS_EMBEDS, &embeds, ids.dim())?;
        Ok(embeds)
    }

    /// Encodes each image's features (`[image tokens, d_model]`) with its prompt. Shorter prompts are padded on the right,
    /// and masked.
    pub(super) fn encode(&self, inputs: &[TextInput<'_>], clock: &Stopwatch) -> Result<EncoderOutput> {
        let graph = &self.encoder;
        let longest = inputs.iter().map(|input| input.prompt.len()).max().unwrap_or(0);
        let mut ids = Array2::from_elem((inputs.len(), longest), self.pad);
        for (mut row, input) in ids.rows_mut().into_iter().zip(inputs) {
            row.iter_mut()
                .zip(input.prompt)
                .for_each(|(id, &token)| *id = token);
        }
        let prompts = self.embed(ids.view(), clock)?;
        let (_, _, d_model) = prompts.dim();
        let image_tokens = inputs
            .iter()
            .map(|input| input.features.nrows())
            .max()
            .unwrap_or(0);
        let mut embeds = Array3::zeros((inputs.len(), image_tokens + longest, d_model));
        let mut attention_mask = Array2::zeros((inputs.len(), image_tokens + longest));
        for (row, TextInput { features, prompt }) in inputs.iter().enumerate() {
            if features.dim() != (image_tokens, d_model) {
                return Err(graph.invalid(format!(
                    "image features are {:?}, not {:?}",
                    features.dim(),
                    (image_tokens, d_model)
                )));
            }
            embeds.slice_mut(s![row, ..image_tokens, ..]).assign(features);
            embeds
                .slice_mut(s![row, image_tokens.., ..])
                .assign(&prompts.index_axis(Axis(0), row));
            attention_mask
                .slice_mut(s![row, ..image_tokens + prompt.len()])
                .fill(1);
        }
        let float = graph.float_input(INPUTS_EMBEDS)?;
        let mask = tensor::integers(attention_mask.shape(), attention_mask.iter().copied().collect())?;
        let mut inputs = vec![(INPUTS_EMBEDS, tensor::float_input(embeds.view(), float)?)];
        if graph.has_input(ATTENTION_MASK) {
            inputs.push((ATTENTION_MASK, mask.into()));
        }
        let hidden_states = graph.run(inputs, clock)?.take_finite(LAST_HIDDEN_STATE)?;
        let wanted = attention_mask.dim();
        check_tokens(graph, LAST_HIDDEN_STATE, &hidden_states, wanted)?;
        Ok(EncoderOutput {
            hidden_states,
            attention_mask,
        })
    }
}
