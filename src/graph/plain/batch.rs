//! The tensors of inputs that are decoded together.

use florence2_layout::graphs::{
    ENCODER_ATTENTION_MASK, ENCODER_HIDDEN_STATES, INPUTS_EMBEDS, LOGITS, USE_CACHE_BRANCH,
};
use ndarray::{Array3, ArrayView2, ArrayView3, Axis};
use ort::session::SessionInputValue;
use ort::value::DynValue;

use super::{DecoderModel, EncoderOutput, PlainModel};
use crate::error::{Error, Result};
use crate::generation::{BestLogits, Logits};
use crate::graph::cache_names::CacheNames;
use crate::graph::chooser::{Chooser, ChosenLogits};
use crate::graph::session::{Graph, Outputs};
use crate::graph::tensor::{self, FloatType};

/// Inputs that were encoded together, and their rows.
pub(super) struct Batch<'m> {
    model: &'m PlainModel,
    /// What belongs to the inputs, one row each.
    inputs: EncoderSide,
    /// The same, one row for each of the present rows; `None` where that is the same thing, or where one row serves
    /// all.
    expanded: Option<EncoderSide>,
    /// The input to which each row belongs.
    row_inputs: Vec<usize>,
    /// Self-attention caches, a row each; empty before the first step.
    own: Vec<DynValue>,
    /// The graph that took the latest step.
    last_graph: &'m Graph,
    logits: LastLogits<'m>,
    /// What chooses the best logits on the device, where those are enough.
    chooser: Option<&'m Chooser>,
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

    /// Puts the hidden states into the float type in which `graph` wants them, if it does.
    fn suit(&mut self, graph: &Graph) -> Result<()> {
        if graph.has_input(ENCODER_HIDDEN_STATES) {
            let float = graph.float_input(ENCODER_HIDDEN_STATES)?;
            if let Some(states) = tensor::converted(&self.hidden_states, float)? {
                self.hidden_states = states;
            }
        }
        Ok(())
    }

    fn gather(&self, decoder: &DecoderModel, rows: &[usize], runtime: &mut f64) -> Result<Self> {
        Ok(Self {
            hidden_states: tensor::gather_rows(&self.hidden_states, rows)?,
            attention_mask: tensor::gather_rows(&self.attention_mask, rows)?,
            cross: decoder.gather(&self.cross, rows, runtime)?,
        })
    }
}

/// The latest logits, `[rows, tokens, vocabulary]`: the runtime's own buffer unless it had to be converted.
enum LastLogits<'m> {
    None,
    Buffer(DynValue),
    Converted(Array3<f32>),
    /// The best of what is on the device.
    Chosen(ChosenLogits<'m>),
}

impl<'m> Batch<'m> {
    /// A row for each input.
    pub(super) fn new(model: &'m PlainModel, encoded: &EncoderOutput, best_are_enough: bool) -> Result<Self> {
        let float = model.decoder.first.float_input(ENCODER_HIDDEN_STATES)?;
        let mask = &encoded.attention_mask;
        let inputs = EncoderSide {
            hidden_states: tensor::float_array(encoded.hidden_states.view(), float)?,
            attention_mask: tensor::integers(mask.shape(), mask.iter().copied().collect())?,
            cross: Vec::new(),
        };
        Ok(Self {
            model,
            inputs,
            expanded: None,
            row_inputs: (0..mask.nrows()).collect(),
            own: Vec::new(),
            last_graph: &model.decoder.first,
            logits: LastLogits::None,
            chooser: model.decoder.chooser.as_ref().filter(|_| best_are_enough),
        })
    }

    fn decoder(&self) -> &'m DecoderModel {
        &self.model.decoder
    }

    /// The graph that took the latest step.
    pub(super) fn last_graph(&self) -> &'m Graph {
        self.last_graph
    }

    /// Rows at present.
    pub(super) fn rows(&self) -> usize {
        self.row_inputs.len()
    }

    /// The inputs of a step that takes `embeds`.
    fn bind<'a>(
        &'a self,
        graph: &Graph,
        embeds: &'a Array3<f32>,
    ) -> Result<Vec<(&'a str, SessionInputValue<'a>)>> {
        let encoder = self.expanded.as_ref().unwrap_or(&self.inputs);
        let float = graph.float_input(INPUTS_EMBEDS)?;
        let embeds = match self.decoder().on_device {
            // A binding wants values that it can keep.
            Some(_) => tensor::float_array(embeds.view(), float)?.into(),
            None => tensor::float_input(embeds.view(), float)?,
        };
        let mut bound: Vec<(&str, SessionInputValue<'_>)> = vec![
            (INPUTS_EMBEDS, embeds),
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
            for names in self.decoder().own.iter().chain(&self.decoder().cross) {
                if let (true, Some([heads, size])) =
                    (graph.has_input(&names.past), self.decoder().empty_cache)
                {
                    let shape = [self.row_inputs.len(), heads, 0, size];
                    let cache = tensor::floats(&shape, Vec::new(), graph.float_input(&names.past)?)?;
                    bound.push((&names.past, cache.into()));
                }
            }
        } else {
            let own = self.decoder().own.iter().zip(&self.own);
            let cross = self.decoder().cross.iter().zip(&encoder.cross);
            bound.extend(
                own.chain(cross)
                    .map(|(names, value)| (names.past.as_str(), value.into())),
            );
        }
        Ok(bound)
    }

    fn keep_logits(&mut self, graph: &Graph, outputs: &mut Outputs, runtime: &mut f64) -> Result<()> {
        let logits = outputs.take(LOGITS)?;
        self.logits = match (self.chooser, FloatType::of(graph.output(LOGITS)?.dtype)) {
            (Some(chooser), _) => LastLogits::Chosen(chooser.choose(logits, runtime)?),
            (None, Some(FloatType::F32)) => LastLogits::Buffer(logits),
            (None, _) => LastLogits::Converted(tensor::to_f32(&logits, graph.name(), LOGITS)?),
        };
        Ok(())
    }

    /// The logits after the last token of each row.
    fn last_logits(&self) -> Result<Logits<'_>> {
        let invalid = |reason: String| Error::InvalidGraph {
            graph: self.decoder().first.name().into(),
            reason,
        };
        let logits: ArrayView3<'_, f32> = match &self.logits {
            LastLogits::None => return Err(invalid("no step was taken".into())),
            LastLogits::Chosen(chosen) if chosen.rows() == self.rows() => return Ok(Logits::best(chosen)),
            LastLogits::Chosen(chosen) => {
                return Err(invalid(format!(
                    "{LOGITS} has {} rows for {}",
                    chosen.rows(),
                    self.rows()
                )));
            }
            LastLogits::Converted(logits) => logits.view(),
            LastLogits::Buffer(value) => value
                .try_extract_array()
                .map_err(Error::ort("reading the logits"))?
                .into_dimensionality()
                .map_err(|_| invalid(format!("{LOGITS} has shape {:?}", tensor::shape(value))))?,
        };
        match logits.dim() {
            (rows, tokens @ 1.., _) if rows == self.rows() => {
                Ok(Logits::new(logits.index_axis_move(Axis(1), tokens - 1)))
            }
            found => Err(invalid(format!(
                "{LOGITS} has shape {found:?} for {} rows",
                self.rows()
            ))),
        }
    }

    /// Feeds `tokens`, `[rows, n]`, and gives the logits that follow the last of each row. Adds the time within the
    /// runtime to `runtime`.
    pub(super) fn step(&mut self, tokens: ArrayView2<'_, u32>, runtime: &mut f64) -> Result<Logits<'_>> {
        let first = self.own.is_empty();
        let decoder = self.decoder();
        let graph = if first { &decoder.first } else { decoder.next() };
        self.last_graph = graph;
        let embeds = self.model.embedding.run(tokens, runtime)?;
        let mut outputs = decoder.run(graph, self.bind(graph, &embeds)?, self.chooser.is_some(), runtime)?;
        self.keep_logits(graph, &mut outputs, runtime)?;
        let next = decoder.next();
        self.own = take_all(&mut outputs, &decoder.own, next)?;
        if first {
            // Later steps give dummies for these, or nothing: the first step's are the ones to keep.
            self.inputs.cross = take_all(&mut outputs, &decoder.cross, next)?;
            self.inputs.suit(next)?;
        }
        self.last_logits()
    }

    /// Makes row `i` a continuation of what was row `parents[i]`, for all `i`.
    /// Adds the time within the runtime to `runtime`.
    pub(super) fn reorder(&mut self, parents: &[usize], runtime: &mut f64) -> Result<()> {
        if parents.iter().copied().eq(0..self.rows()) {
            return Ok(());
        }
        let row_inputs = parents.iter().map(|&parent| self.row_inputs.get(parent).copied());
        let row_inputs: Vec<usize> = row_inputs.collect::<Option<_>>().ok_or_else(|| {
            self.decoder()
                .first
                .invalid(format!("there are {} rows, not {parents:?}", self.rows()))
        })?;
        self.own = self.decoder().gather(&self.own, parents, runtime)?;
        if row_inputs != self.row_inputs {
            // Only when rows come or go: among the beams of an input, the encoder's side stays where it is.
            let one_serves_all = self.decoder().shared_encoder_row && self.inputs.rows() == 1;
            self.expanded = if one_serves_all {
                None
            } else {
                Some(self.inputs.gather(self.decoder(), &row_inputs, runtime)?)
            };
            self.row_inputs = row_inputs;
        }
        Ok(())
    }
}

/// Caches that a step gave, in the float types in which `next` wants them.
fn take_all(outputs: &mut Outputs<'_>, names: &[CacheNames], next: &Graph) -> Result<Vec<DynValue>> {
    let caches = names.iter().map(|names| {
        let cache = outputs.take(&names.present)?;
        let wanted = tensor::converted(&cache, next.float_input(&names.past)?)?;
        Ok(wanted.unwrap_or(cache))
    });
    caches.collect()
}
