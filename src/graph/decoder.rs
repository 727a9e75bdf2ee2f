//! Decoding over the graphs of the `plain` layout.

use florence2_layout::graphs::{
    ENCODER_ATTENTION_MASK, ENCODER_HIDDEN_STATES, INPUTS_EMBEDS, LOGITS, USE_CACHE_BRANCH,
};
use ndarray::{Array3, ArrayView2, ArrayView3, Axis};
use ort::session::SessionInputValue;
use ort::value::DynValue;

use super::decoder_model::DecoderModel;
use super::session::{Graph, Outputs};
use super::tensor::{self, FloatType};
use super::text_encoder::{EncoderOutput, TokenEmbedding};
use crate::error::{Error, Result};
use crate::generation::Decoder;

/// One decoding in progress.
pub(crate) struct GraphDecoder<'m> {
    model: &'m DecoderModel,
    embedding: &'m TokenEmbedding,
    /// What belongs to the inputs, one row each.
    inputs: EncoderSide,
    /// The same, one row for each of the present rows; `None` where that is the same thing, or where one row serves
    /// all.
    expanded: Option<EncoderSide>,
    /// The input to which each row belongs.
    row_inputs: Vec<usize>,
    /// Self-attention caches, a row each; empty before the first step.
    own: Vec<DynValue>,
    logits: Logits,
}

/// The constant tensors that a step attends to.
struct EncoderSide {
    hidden_states: DynValue,
    attention_mask: DynValue,
    /// Cross-attention caches; empty before the first step.
    cross: Vec<DynValue>,
}

impl EncoderSide {
    fn rows(&self) -> usize {
        tensor::shape(&self.attention_mask).first().copied().unwrap_or(0)
    }

    fn gather(&self, rows: &[usize]) -> Result<Self> {
        Ok(Self {
            hidden_states: tensor::gather_rows(&self.hidden_states, rows)?,
            attention_mask: tensor::gather_rows(&self.attention_mask, rows)?,
            cross: self
                .cross
                .iter()
                .map(|value| tensor::gather_rows(value, rows))
                .collect::<Result<_>>()?,
        })
    }
}

/// The latest logits, `[rows, tokens, vocabulary]`: the runtime's own buffer unless it had to be converted.
enum Logits {
    None,
    Buffer(DynValue),
    Converted(Array3<f32>),
}

impl<'m> GraphDecoder<'m> {
    /// A decoding of these inputs, one row each.
    pub(crate) fn start(
        model: &'m DecoderModel,
        embedding: &'m TokenEmbedding,
        encoder: &EncoderOutput,
    ) -> Result<Self> {
        let float = model.first.float_input(ENCODER_HIDDEN_STATES)?;
        let mask = &encoder.attention_mask;
        let inputs = EncoderSide {
            hidden_states: tensor::float_array(encoder.hidden_states.view(), float)?,
            attention_mask: tensor::integers(mask.shape(), mask.iter().copied().collect())?,
            cross: Vec::new(),
        };
        let row_inputs = (0..mask.nrows()).collect();
        Ok(Self {
            model,
            embedding,
            inputs,
            expanded: None,
            row_inputs,
            own: Vec::new(),
            logits: Logits::None,
        })
    }

    /// The inputs of a step that takes `embeds`.
    fn bind<'a>(
        &'a self,
        graph: &Graph,
        embeds: Array3<f32>,
    ) -> Result<Vec<(&'a str, SessionInputValue<'a>)>> {
        let encoder = self.expanded.as_ref().unwrap_or(&self.inputs);
        let embeds = tensor::float_array(embeds.view(), graph.float_input(INPUTS_EMBEDS)?)?;
        let mut bound: Vec<(&str, SessionInputValue<'_>)> = vec![
            (INPUTS_EMBEDS, embeds.into()),
            (ENCODER_ATTENTION_MASK, (&encoder.attention_mask).into()),
        ];
        if graph.has_input(ENCODER_HIDDEN_STATES) {
            bound.push((ENCODER_HIDDEN_STATES, (&encoder.hidden_states).into()));
        }
        let first = self.own.is_empty();
        if graph.has_input(USE_CACHE_BRANCH) {
            bound.push((USE_CACHE_BRANCH, tensor::flag(!first)?.into()));
        }
        if first {
            for names in self.model.own.iter().chain(&self.model.cross) {
                if graph.has_input(&names.past) {
                    bound.push((
                        &names.past,
                        empty_cache(graph, &names.past, self.row_inputs.len())?.into(),
                    ));
                }
            }
        } else {
            let own = self.model.own.iter().zip(&self.own);
            let cross = self.model.cross.iter().zip(&encoder.cross);
            bound.extend(
                own.chain(cross)
                    .map(|(names, value)| (names.past.as_str(), value.into())),
            );
        }
        Ok(bound)
    }

    fn keep_logits(&mut self, graph: &Graph, outputs: &mut Outputs) -> Result<()> {
        let logits = outputs.take(LOGITS)?;
        self.logits = match FloatType::of(graph.output(LOGITS)?.dtype) {
            Some(FloatType::F32) => Logits::Buffer(logits),
            _ => Logits::Converted(tensor::to_f32(&logits, graph.name(), LOGITS)?),
        };
        Ok(())
    }

    /// The logits after the last token of each row.
    fn last_logits(&self) -> Result<ArrayView2<'_, f32>> {
        let invalid = |reason: String| Error::InvalidGraph {
            graph: self.model.first.name().into(),
            reason,
        };
        let logits: ArrayView3<'_, f32> = match &self.logits {
            Logits::None => return Err(invalid("no step was taken".into())),
            Logits::Converted(logits) => logits.view(),
            Logits::Buffer(value) => value
                .try_extract_array()
                .map_err(Error::ort("reading the logits"))?
                .into_dimensionality()
                .map_err(|_| invalid(format!("{LOGITS} has shape {:?}", tensor::shape(value))))?,
        };
        match logits.dim() {
            (rows, tokens @ 1.., _) if rows == self.rows() => Ok(logits.index_axis_move(Axis(1), tokens - 1)),
            found => Err(invalid(format!(
                "{LOGITS} has shape {found:?} for {} rows",
                self.rows()
            ))),
        }
    }
}

/// A cache of no tokens, for a graph that wants caches in its first step too.
fn empty_cache(graph: &Graph, name: &str, rows: usize) -> Result<DynValue> {
    let spec = graph.input(name)?;
    match (spec.fixed(1), spec.fixed(3)) {
        (Some(heads), Some(head_size)) => {
            tensor::floats(&[rows, heads, 0, head_size], Vec::new(), graph.float_input(name)?)
        }
        _ => Err(graph.invalid(format!("{spec} does not give the number of heads and their size"))),
    }
}

impl Decoder for GraphDecoder<'_> {
    fn rows(&self) -> usize {
        self.row_inputs.len()
    }

    fn step(&mut self, tokens: ArrayView2<'_, u32>) -> Result<ArrayView2<'_, f32>> {
        let first = self.own.is_empty();
        let model = self.model;
        let graph = if first { &model.first } else { model.next() };
        let embeds = self.embedding.run(tokens)?;
        let mut outputs = graph.run(self.bind(graph, embeds)?)?;
        self.keep_logits(graph, &mut outputs)?;
        self.own = model
            .own
            .iter()
            .map(|names| outputs.take(&names.present))
            .collect::<Result<_>>()?;
        if first {
            // Later steps give dummies for these, or nothing: the first step's are the ones to keep.
            self.inputs.cross = model
                .cross
                .iter()
                .map(|names| outputs.take(&names.present))
                .collect::<Result<_>>()?;
        }
        self.last_logits()
    }

    fn reorder(&mut self, parents: &[usize]) -> Result<()> {
        if parents.iter().copied().eq(0..self.rows()) {
            return Ok(());
        }
        let row_inputs = parents.iter().map(|&parent| self.row_inputs.get(parent).copied());
        let row_inputs: Vec<usize> = row_inputs.collect::<Option<_>>().ok_or_else(|| {
            self.model
                .first
                .invalid(format!("there are {} rows, not {parents:?}", self.rows()))
        })?;
        self.own = self
            .own
            .iter()
            .map(|value| tensor::gather_rows(value, parents))
            .collect::<Result<_>>()?;
        if row_inputs != self.row_inputs {
            // Only when rows come or go: among the beams of an input, the encoder's side stays where it is.
            let one_serves_all = self.model.shared_encoder_row && self.inputs.rows() == 1;
            self.expanded = if one_serves_all {
                None
            } else {
                Some(self.inputs.gather(&row_inputs)?)
            };
            self.row_inputs = row_inputs;
        }
        Ok(())
    }
}
