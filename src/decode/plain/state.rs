//! The sequences of a session over the plain layout's graphs.

use florence2_layout::graphs::{
    ENCODER_ATTENTION_MASK, ENCODER_HIDDEN_STATES, INPUTS_EMBEDS, LOGITS, USE_CACHE_BRANCH,
};
use ndarray::{Array2, Array3, ArrayView1, ArrayView2, ArrayView3, Axis};
use ort::value::DynValue;

use super::PlainModel;
use super::decoder::PlainDecoder;
use crate::decode::cache_spec::CacheNames;
use crate::decode::device_top_k::{DeviceLogits, DeviceTopK};
use crate::decode::{DecodeState, DecodeTimes, DecodingLimits, TextInput};
use crate::error::{Error, Result};
use crate::generation::{Logits, TopKLogits};
use crate::metrics::Stopwatch;
use crate::session::{FloatType, Graph, Inputs, Outputs, tensor};

/// The decoding state of the plain layout. A batch of inputs is encoded and admitted together, the next batch when
/// all of them are done.
pub(super) struct PlainState<'m> {
    model: &'m PlainModel,
    limits: DecodingLimits,
    times: DecodeTimes,
    /// A row for each input.
    encoder: EncoderSide,
    /// A row for each row of the decoder; `None` if that equals `encoder`, or if all rows share one.
    expanded: Option<EncoderSide>,
    /// The input of each row.
    row_inputs: Vec<usize>,
    /// Self-attention caches, `[rows, heads, length, head size]`; empty before the first step.
    self_attention: Vec<DynValue>,
    /// The graph of the latest step.
    last_graph: &'m Graph,
    logits: PlainLogits<'m>,
    device_top_k: Option<&'m DeviceTopK>,
}

/// The constant tensors that a step attends to.
struct EncoderSide {
    hidden_states: DynValue,
    attention_mask: DynValue,
    /// Cross-attention caches; empty before the first step.
    cross_attention: Vec<DynValue>,
}

impl EncoderSide {
    fn rows(&self) -> usize {
        tensor::shape(&self.attention_mask).first().copied().unwrap_or(0)
    }

    /// Converts the hidden states to the float type of `graph`'s input.
    fn convert_for(&mut self, graph: &Graph) -> Result<()> {
        if graph.has_input(ENCODER_HIDDEN_STATES) {
            let float = graph.float_input(ENCODER_HIDDEN_STATES)?;
            if let Some(states) = tensor::converted(&self.hidden_states, float)? {
                self.hidden_states = states;
            }
        }
        Ok(())
    }

    fn gather(&self, decoder: &PlainDecoder, rows: &[usize], clock: &Stopwatch) -> Result<Self> {
        Ok(Self {
            hidden_states: tensor::gather_rows(&self.hidden_states, rows)?,
            attention_mask: tensor::gather_rows(&self.attention_mask, rows)?,
            cross_attention: decoder.gather(&self.cross_attention, rows, clock)?,
        })
    }
}

/// The latest logits, `[rows, tokens, vocabulary]`.
enum PlainLogits<'m> {
    None,
    /// ONNX Runtime's own float32 buffer.
    Buffer(DynValue),
    Converted(Array3<f32>),
    Device(Box<DeviceLogits<'m>>),
}

impl<'m> PlainState<'m> {
    pub(super) fn new(model: &'m PlainModel, limits: DecodingLimits, times: DecodeTimes) -> Result<Self> {
        let float = model.decoder.first.float_input(ENCODER_HIDDEN_STATES)?;
        Ok(Self {
            model,
            limits,
            times,
            encoder: EncoderSide {
                hidden_states: tensor::floats(&[0, 0, 0], Vec::new(), float)?,
                attention_mask: tensor::integers(&[0, 0], Vec::new())?,
                cross_attention: Vec::new(),
            },
            expanded: None,
            row_inputs: Vec::new(),
            self_attention: Vec::new(),
            last_graph: &model.decoder.first,
            logits: PlainLogits::None,
            device_top_k: model.decoder.device_top_k.as_ref().filter(|_| limits.top_k),
        })
    }

    /// Returns the inputs of a step that is fed `embeds`.
    fn inputs<'a>(&'a self, graph: &Graph, embeds: &'a Array3<f32>) -> Result<Inputs<'a>> {
        let decoder = &self.model.decoder;
        let encoder = self.expanded.as_ref().unwrap_or(&self.encoder);
        let float = graph.float_input(INPUTS_EMBEDS)?;
        let embeds = if decoder.device_gather.is_some() {
            // A binding requires values that own their memory.
            tensor::float_array(embeds.view(), float)?.into()
        } else {
            tensor::float_input(embeds.view(), float)?
        };
        let mut inputs: Inputs<'_> = vec![(INPUTS_EMBEDS, embeds)];
        if graph.has_input(ENCODER_ATTENTION_MASK) {
            inputs.push((ENCODER_ATTENTION_MASK, (&encoder.attention_mask).into()));
        }
        if graph.has_input(ENCODER_HIDDEN_STATES) {
            inputs.push((ENCODER_HIDDEN_STATES, (&encoder.hidden_states).into()));
        }
        let is_first = self.self_attention.is_empty();
        if graph.has_input(USE_CACHE_BRANCH) {
            inputs.push((USE_CACHE_BRANCH, tensor::flag(!is_first)?.into()));
        }
        if !is_first {
            let values = self.self_attention.iter().chain(&encoder.cross_attention);
            let named = decoder.caches.all().zip(values);
            inputs.extend(named.map(|(names, value)| (names.past.as_str(), value.into())));
        } else if let Some([heads, head_size]) = decoder.empty_cache {
            for names in decoder.caches.all().filter(|names| graph.has_input(&names.past)) {
                let shape = [self.row_inputs.len(), heads, 0, head_size];
                let cache = tensor::floats(&shape, Vec::new(), graph.float_input(&names.past)?)?;
                inputs.push((&names.past, cache.into()));
            }
        }
        Ok(inputs)
    }

    /// Feeds each row `tokens`, `[rows, n]`.
    fn feed(&mut self, tokens: ArrayView2<'_, u32>) -> Result<()> {
        let is_first = self.self_attention.is_empty();
        let (decoder, clock) = (&self.model.decoder, &self.times.runtime);
        let graph = if is_first { &decoder.first } else { decoder.next() };
        self.last_graph = graph;
        let embeds = self.model.embed(tokens, clock)?;
        let inputs = self.inputs(graph, &embeds)?;
        let mut outputs = decoder.run(graph, inputs, self.device_top_k.is_some(), clock)?;
        let logits = outputs.take(LOGITS)?;
        self.logits = match (self.device_top_k, FloatType::of(graph.output(LOGITS)?.dtype)) {
            (Some(top_k), _) => PlainLogits::Device(Box::new(top_k.select(logits, clock)?)),
            (None, Some(FloatType::F32)) => PlainLogits::Buffer(logits),
            (None, _) => PlainLogits::Converted(tensor::to_f32(&logits, graph.name(), LOGITS)?),
        };
        let next = decoder.next();
        self.self_attention = take_caches(&mut outputs, &decoder.caches.self_attention, next)?;
        if is_first {
            // Later steps return dummies for cross-attention caches, or omit them.
            self.encoder.cross_attention = take_caches(&mut outputs, &decoder.caches.cross_attention, next)?;
            self.encoder.convert_for(next)?;
        }
        Ok(())
    }

    /// Returns the logits after the last token of each row.
    fn last_logits(&self) -> Result<Logits<'_>> {
        let graph = &self.model.decoder.first;
        let rows = self.row_inputs.len();
        let wrong = |found: &dyn std::fmt::Debug| {
            graph.invalid(format!("{LOGITS} has shape {found:?} for {rows} rows"))
        };
        let logits: ArrayView3<'_, f32> = match &self.logits {
            PlainLogits::None => return Err(graph.invalid("no step was taken")),
            PlainLogits::Device(logits) if logits.rows() == rows => return Ok(Logits::top_k(&**logits)),
            PlainLogits::Device(logits) => return Err(wrong(&[logits.rows(), logits.vocabulary()])),
            PlainLogits::Converted(logits) => logits.view(),
            PlainLogits::Buffer(value) => value
                .try_extract_array()
                .map_err(Error::ort("reading the logits"))?
                .into_dimensionality()
                .map_err(|_| wrong(&tensor::shape(value)))?,
        };
        match logits.dim() {
            (found, tokens @ 1.., _) if found == rows => {
                Ok(Logits::new(logits.index_axis_move(Axis(1), tokens - 1)))
            }
            found => Err(wrong(&found)),
        }
    }
}

impl DecodeState for PlainState<'_> {
    fn graph(&self) -> &Graph {
        &self.model.decoder.first
    }

    fn admissible(&self) -> usize {
        if !self.row_inputs.is_empty() {
            0
        } else if self.model.is_masked {
            self.limits.max_batch
        } else {
            1
        }
    }

    fn admit(&mut self, inputs: &[TextInput<'_>], prompt: &[u32], _: usize) -> Result<Logits<'_>> {
        *self = Self::new(self.model, self.limits, self.times.clone())?;
        let times = &self.times;
        let encode = || self.model.encode(inputs, &times.runtime);
        let encoded = times.text_encoder.time(encode)?;
        let mask = encoded.attention_mask;
        let float = self.graph().float_input(ENCODER_HIDDEN_STATES)?;
        self.encoder.hidden_states = tensor::float_array(encoded.hidden_states.view(), float)?;
        self.encoder.attention_mask = tensor::integers(mask.shape(), mask.iter().copied().collect())?;
        self.row_inputs = (0..inputs.len()).collect();
        // With dynamic quantization, tokens of one step share a scale: one token per step gives the answers of other
        // programs, which feed tokens one by one.
        let width = if self.model.decoder.quantizes_activations {
            1
        } else {
            prompt.len().max(1)
        };
        for tokens in prompt.chunks(width) {
            let tokens = Array2::from_shape_fn((inputs.len(), tokens.len()), |(_, index)| tokens[index]);
            self.feed(tokens.view())?;
        }
        self.last_logits()
    }

    fn rows(&self) -> usize {
        self.row_inputs.len()
    }

    fn step(&mut self, tokens: &[u32]) -> Result<Logits<'_>> {
        self.feed(ArrayView1::from(tokens).insert_axis(Axis(1)))?;
        self.last_logits()
    }

    fn reorder(&mut self, parents: &[usize], _: usize) -> Result<()> {
        if parents.is_empty() {
            *self = Self::new(self.model, self.limits, self.times.clone())?;
            return Ok(());
        }
        if parents.iter().copied().eq(0..self.rows()) {
            return Ok(());
        }
        let (decoder, clock) = (&self.model.decoder, &self.times.runtime);
        let inputs = parents.iter().filter_map(|&parent| self.row_inputs.get(parent));
        let row_inputs: Vec<usize> = inputs.copied().collect();
        self.self_attention = decoder.gather(&self.self_attention, parents, clock)?;
        if row_inputs != self.row_inputs {
            // Encoder states and cross-attention caches are gathered only if the number of rows of an input changes.
            let one_serves_all = decoder.shared_encoder_row && self.encoder.rows() == 1;
            self.expanded = if one_serves_all {
                None
            } else {
                Some(self.encoder.gather(decoder, &row_inputs, clock)?)
            };
            self.row_inputs = row_inputs;
        }
        Ok(())
    }

    /// Names the decoder as the cause: the encoder's outputs are checked right after its run.
    fn not_finite(&self) -> Error {
        tensor::not_finite(self.last_graph.name(), LOGITS)
    }
}

/// Takes the caches of a step, in the float types of `next`'s inputs.
fn take_caches(outputs: &mut Outputs<'_>, names: &[CacheNames], next: &Graph) -> Result<Vec<DynValue>> {
    let caches = names.iter().map(|names| {
        let cache = outputs.take(&names.present)?;
        let converted = tensor::converted(&cache, next.float_input(&names.past)?)?;
        Ok(converted.unwrap_or(cache))
    });
    caches.collect()
}
