//! A decoding in progress: the inputs that wait, and the sequences of those that were admitted.

use std::collections::VecDeque;

use super::{DecodeState, DecodeTimes, DecodingLimits, LanguageModel, TextInput};
use crate::error::{Error, Result};
use crate::generation::{DECODER, Decoder, Logits};

/// A decoding of inputs, which are admitted in their order.
pub(crate) struct DecodeSession<'m> {
    inputs: usize,
    waiting: VecDeque<TextInput<'m>>,
    state: Box<dyn DecodeState + 'm>,
    times: DecodeTimes,
}

impl<'m> DecodeSession<'m> {
    pub(crate) fn new(
        model: &'m dyn LanguageModel,
        inputs: Vec<TextInput<'m>>,
        limits: DecodingLimits,
    ) -> Result<Self> {
        let times = DecodeTimes::default();
        Ok(Self {
            inputs: inputs.len(),
            waiting: inputs.into(),
            state: model.start(limits, times.clone())?,
            times,
        })
    }

    /// Returns the times so far.
    pub(crate) fn times(&self) -> &DecodeTimes {
        &self.times
    }

    /// Returns a search's error; for logits that are not finite, the error of the graph that caused them.
    pub(crate) fn with_cause(&self, error: Error) -> Error {
        match error {
            Error::NotFinite { graph, .. } if graph == DECODER => self.state.not_finite(),
            other => other,
        }
    }

    fn invalid(&self, reason: String) -> Error {
        self.state.graph().invalid(reason)
    }
}

impl Decoder for DecodeSession<'_> {
    fn inputs(&self) -> usize {
        self.inputs
    }

    fn admit(&mut self, prompt: &[u32]) -> Result<Option<Logits<'_>>> {
        if prompt.is_empty() {
            return Err(self.invalid("the prompt is empty".into()));
        }
        let count = self.state.admissible().min(self.waiting.len());
        if count == 0 {
            return Ok(None);
        }
        let inputs: Vec<TextInput<'_>> = self.waiting.drain(..count).collect();
        self.state.admit(&inputs, prompt, self.waiting.len()).map(Some)
    }

    fn rows(&self) -> usize {
        self.state.rows()
    }

    fn step(&mut self, tokens: &[u32]) -> Result<Logits<'_>> {
        let rows = self.rows();
        if rows == 0 || rows != tokens.len() {
            return Err(self.invalid(format!("it has {rows} rows for {} tokens", tokens.len())));
        }
        self.state.step(tokens)
    }

    fn reorder(&mut self, parents: &[usize]) -> Result<()> {
        let rows = self.rows();
        if parents.iter().any(|&parent| parent >= rows) {
            return Err(self.invalid(format!("its {rows} rows cannot be reordered to {parents:?}")));
        }
        self.state.reorder(parents, self.waiting.len())
    }
}
