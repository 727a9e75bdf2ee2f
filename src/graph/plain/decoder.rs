//! Decoding over the graphs of the `plain` layout.

use std::collections::VecDeque;

use florence2_layout::graphs::LOGITS;
use ndarray::{Array2, ArrayView1, Axis};

use super::PlainModel;
use super::batch::Batch;
use crate::error::{Error, Result};
use crate::generation::{Decoder, Logits};
use crate::graph::language_model::{Decoding, DecodingLimits, TextInput};
use crate::graph::tensor;
use crate::metrics::{DecodingTimes, timed};

/// One decoding in progress. A batch's inputs join all at once; the next ones when all of them have left.
pub(super) struct PlainDecoder<'m> {
    model: &'m PlainModel,
    inputs: usize,
    waiting: VecDeque<TextInput<'m>>,
    limits: DecodingLimits,
    batch: Option<Batch<'m>>,
    times: DecodingTimes,
}

impl<'m> PlainDecoder<'m> {
    pub(super) fn new(model: &'m PlainModel, inputs: Vec<TextInput<'m>>, limits: DecodingLimits) -> Self {
        Self {
            model,
            inputs: inputs.len(),
            waiting: inputs.into(),
            limits,
            batch: None,
            times: DecodingTimes::default(),
        }
    }

    /// Encodes the next inputs.
    fn next_batch(&mut self) -> Result<Batch<'m>> {
        let size = self.waiting.len().min(self.limits.max_batch);
        let inputs: Vec<TextInput<'m>> = self.waiting.drain(..size).collect();
        let times = &mut self.times;
        let encoded = timed(&mut times.text_encoder, || {
            self.model.encode(&inputs, &mut times.runtime)
        })?;
        Batch::new(self.model, &encoded, self.limits.best_are_enough)
    }
}

impl Decoder for PlainDecoder<'_> {
    fn inputs(&self) -> usize {
        self.inputs
    }

    fn join(&mut self, prompt: &[u32]) -> Result<Option<Logits<'_>>> {
        if self.rows() > 0 || self.waiting.is_empty() || self.limits.max_batch == 0 {
            return Ok(None);
        }
        let batch = self.next_batch()?;
        let rows = batch.rows();
        // Where activations are quantised dynamically, tokens of one step share a scale: other programs' answers, which feed
        // them one by one, are those of one token a step.
        let together = if self.model.decoder.quantizes_activations {
            1
        } else {
            prompt.len().max(1)
        };
        let mut steps = prompt
            .chunks(together)
            .map(|tokens| Array2::from_shape_fn((rows, tokens.len()), |(_, index)| tokens[index]));
        let Some(last) = steps.next_back() else {
            return Err(self.model.decoder.first.invalid("it takes no empty prompt"));
        };
        let batch = self.batch.insert(batch);
        for tokens in steps {
            batch.step(tokens.view(), &mut self.times.runtime)?;
        }
        batch.step(last.view(), &mut self.times.runtime).map(Some)
    }

    fn rows(&self) -> usize {
        self.batch.as_ref().map_or(0, Batch::rows)
    }

    fn step(&mut self, tokens: &[u32]) -> Result<Logits<'_>> {
        let Some(batch) = &mut self.batch else {
            return Err(self.model.decoder.first.invalid("no input has joined"));
        };
        let tokens = ArrayView1::from(tokens).insert_axis(Axis(1));
        batch.step(tokens, &mut self.times.runtime)
    }

    fn reorder(&mut self, parents: &[usize]) -> Result<()> {
        if parents.is_empty() {
            self.batch = None;
        }
        match &mut self.batch {
            Some(batch) => batch.reorder(parents, &mut self.times.runtime),
            None => Ok(()),
        }
    }
}

impl Decoding for PlainDecoder<'_> {
    fn times(&self) -> DecodingTimes {
        self.times
    }

    /// What the decoder takes was checked as it was made.
    fn cause(&self) -> Error {
        let batch = self.batch.as_ref();
        let graph = batch.map_or(&self.model.decoder.first, Batch::last_graph);
        tensor::not_finite(graph.name(), LOGITS)
    }
}
