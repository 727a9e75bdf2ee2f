//! Image features and prompt ids to the encoder's hidden states.

use florence2_layout::graphs::{ATTENTION_MASK, GraphFile, INPUT_IDS, INPUTS_EMBEDS, LAST_HIDDEN_STATE};
use ndarray::{Array2, Array3, ArrayView2, ArrayView3, Axis, s};

use crate::bundle::Bundle;
use crate::error::Result;
use crate::graph::checks::TextSizes;
use crate::graph::language_model::TextInput;
use crate::graph::session::Graph;
use crate::graph::tensor;
use crate::runtime::{ElementType, SessionOptions};

/// The embedding table.
pub(super) struct TokenEmbedding {
    graph: Graph,
}

impl TokenEmbedding {
    pub(super) fn load(bundle: &Bundle, options: &SessionOptions) -> Result<Self> {
        let graph = Graph::load(bundle, GraphFile::EmbedTokens, options)?;
        graph.check_input(INPUT_IDS, ElementType::Int64)?;
        graph.float_output(INPUTS_EMBEDS)?;
        let d_model = TextSizes::of(bundle).d_model;
        graph.check_size(graph.output(INPUTS_EMBEDS)?, 2, d_model, TextSizes::D_MODEL)?;
        Ok(Self { graph })
    }

    pub(super) fn graph(&self) -> &Graph {
        &self.graph
    }

    /// `[batch, sequence]` to `[batch, sequence, d_model]`; adds the time within the runtime to `runtime`.
    pub(super) fn run(&self, ids: ArrayView2<'_, u32>, runtime: &mut f64) -> Result<Array3<f32>> {
        let (batch, sequence) = ids.dim();
        let ids = tensor::integers(ids.shape(), ids.iter().map(|&id| i64::from(id)).collect())?;
        let mut outputs = self.graph.run(vec![(INPUT_IDS, ids.into())], runtime)?;
        let embeds: Array3<f32> =
            tensor::to_f32(&outputs.take(INPUTS_EMBEDS)?, self.graph.name(), INPUTS_EMBEDS)?;
        match embeds.dim() {
            (rows, tokens, _) if (rows, tokens) == (batch, sequence) => {
                self.graph.check_finite(&embeds, INPUTS_EMBEDS)?;
                Ok(embeds)
            }
            found => Err(self.graph.invalid(format!(
                "{INPUTS_EMBEDS} has shape {found:?} for {batch} rows of {sequence} tokens"
            ))),
        }
    }
}

/// BART's encoder.
pub(super) struct TextEncoder {
    graph: Graph,
}

/// What the decoder attends to.
#[derive(Debug, Clone)]
pub(super) struct EncoderOutput {
    /// `[inputs, sequence, d_model]`: image tokens, then the prompt, then padding.
    pub(super) hidden_states: Array3<f32>,
    /// `[inputs, sequence]`: 1 for what is to be attended to.
    pub(super) attention_mask: Array2<i64>,
}

impl TextEncoder {
    pub(super) fn load(bundle: &Bundle, options: &SessionOptions) -> Result<Self> {
        let graph = Graph::load(bundle, GraphFile::EncoderModel, options)?;
        graph.float_input(INPUTS_EMBEDS)?;
        graph.check_input(ATTENTION_MASK, ElementType::Int64)?;
        graph.float_output(LAST_HIDDEN_STATE)?;
        let d_model = TextSizes::of(bundle).d_model;
        for spec in [graph.input(INPUTS_EMBEDS)?, graph.output(LAST_HIDDEN_STATE)?] {
            graph.check_size(spec, 2, d_model, TextSizes::D_MODEL)?;
        }
        Ok(Self { graph })
    }

    pub(super) fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Encodes each image's features (`[image tokens, d_model]`) with its prompt; shorter prompts are padded
    /// with `pad` on the right and masked. Adds the time within the runtime to `runtime`.
    pub(super) fn run(
        &self,
        embedding: &TokenEmbedding,
        inputs: &[TextInput<'_>],
        pad: u32,
        runtime: &mut f64,
    ) -> Result<EncoderOutput> {
        let longest = inputs.iter().map(|input| input.prompt.len()).max().unwrap_or(0);
        let mut ids = Array2::from_elem((inputs.len(), longest), pad);
        for (mut row, input) in ids.rows_mut().into_iter().zip(inputs) {
            row.iter_mut()
                .zip(input.prompt)
                .for_each(|(id, &token)| *id = token);
        }
        let prompts = embedding.run(ids.view(), runtime)?;
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
                return Err(self.graph.invalid(format!(
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
        let hidden_states = self.encode(embeds.view(), attention_mask.view(), runtime)?;
        Ok(EncoderOutput {
            hidden_states,
            attention_mask,
        })
    }

    fn encode(
        &self,
        embeds: ArrayView3<'_, f32>,
        mask: ArrayView2<'_, i64>,
        runtime: &mut f64,
    ) -> Result<Array3<f32>> {
        let wanted = mask.dim();
        let embeds = tensor::float_input(embeds, self.graph.float_input(INPUTS_EMBEDS)?)?;
        let mask = tensor::integers(mask.shape(), mask.iter().copied().collect())?;
        let inputs = vec![(INPUTS_EMBEDS, embeds), (ATTENTION_MASK, mask.into())];
        let mut outputs = self.graph.run(inputs, runtime)?;
        let states: Array3<f32> = tensor::to_f32(
            &outputs.take(LAST_HIDDEN_STATE)?,
            self.graph.name(),
            LAST_HIDDEN_STATE,
        )?;
        match states.dim() {
            (rows, tokens, _) if (rows, tokens) == wanted => {
                self.graph.check_finite(&states, LAST_HIDDEN_STATE)?;
                Ok(states)
            }
            found => Err(self.graph.invalid(format!(
                "{LAST_HIDDEN_STATE} has shape {found:?} for {} rows of {} tokens",
                wanted.0, wanted.1
            ))),
        }
    }
}
