//! The sequences of a session over the fused layout's graphs.

use florence2_layout::graphs::LOGITS;

use super::FusedModel;
use super::tensors::StepTensors;
use crate::decode::kv_cache::KvCache;
use crate::decode::slots::{Reordering, Slots};
use crate::decode::{DecodeState, DecodeTimes, DecodingLimits, TextInput};
use crate::error::{Error, Result};
use crate::generation::Logits;
use crate::session::{Graph, tensor};

/// The initial capacity of a row in tokens, unless the limit is lower.
const FIRST_CAPACITY: usize = 32;

/// The decoding state of the fused layout. Inputs are admitted one by one, while there are free slots.
///
/// Each input is encoded and prefilled by itself, in new tensors. If no other input is decoded at the same time,
/// these become the session's tensors; otherwise they are copied into the session's tensors.
pub(super) struct FusedState<'m> {
    model: &'m FusedModel,
    limits: DecodingLimits,
    slots: Slots,
    tensors: StepTensors<'m>,
    /// The tensors of the input that was admitted last, until its logits are read.
    admitted: Option<StepTensors<'m>>,
    /// The token of each slot in the next step; memory that is reused.
    tokens: Vec<u32>,
    times: DecodeTimes,
}

impl<'m> FusedState<'m> {
    pub(super) fn new(model: &'m FusedModel, limits: DecodingLimits, times: DecodeTimes) -> Result<Self> {
        Ok(Self {
            model,
            limits,
            slots: Slots::new(0, 0),
            tensors: StepTensors::empty(&model.decoder, limits.top_k, &times.runtime)?,
            admitted: None,
            tokens: Vec::new(),
            times,
        })
    }

    /// Encodes an input and feeds it `prompt`, in new tensors with one slot.
    fn prefill(&self, input: TextInput<'_>, prompt: &[u32]) -> Result<StepTensors<'m>> {
        let decoder = &self.model.decoder;
        let clock = &self.times.runtime;
        let encode = || self.model.encode(input, clock);
        let cross_cache = self.times.text_encoder.time(encode)?;
        let encoder_length = cross_cache.shape().capacity;
        let self_cache = KvCache::zeros(decoder.format(), 1, self.capacity_for(prompt.len(), 0)?, clock)?;
        let mut tensors = StepTensors::new(decoder, self_cache, cross_cache, self.limits.top_k, clock)?;
        tensors.run(prompt.len(), |_| (prompt, 0), &[encoder_length])?;
        Ok(tensors)
    }

    /// Returns the capacity in tokens to hold `needed` tokens: `present` if that suffices, else twice `present` or
    /// more, up to the limit.
    fn capacity_for(&self, needed: usize, present: usize) -> Result<usize> {
        let limit = self.limits.max_length;
        if needed > limit {
            return Err(Error::InvalidOption {
                name: "max_new_tokens",
                reason: format!("allows for {limit} tokens, but the decoder is fed {needed}"),
            });
        }
        if needed <= present {
            return Ok(present);
        }
        let doubled = present.saturating_mul(2).max(FIRST_CAPACITY);
        Ok(doubled.min(limit).max(needed))
    }

    /// Grows the tensors if rows of `tokens` tokens, or images of `encoder_tokens`, do not fit.
    fn ensure_capacity(&mut self, tokens: usize, encoder_tokens: usize) -> Result<()> {
        let capacity = self.capacity_for(tokens, self.tensors.capacity())?;
        let encoder_capacity = self.tensors.encoder_capacity().max(encoder_tokens);
        if (capacity, encoder_capacity) == (self.tensors.capacity(), self.tensors.encoder_capacity()) {
            return Ok(());
        }
        // Only rows in use are copied.
        self.slots.clear_unused();
        let (rows, images) = (self.slots.unmoved_rows(), self.slots.unmoved_images());
        self.tensors
            .resize(&self.slots, (capacity, &rows), (encoder_capacity, &images))
    }
}

impl DecodeState for FusedState<'_> {
    fn graph(&self) -> &Graph {
        self.model.decoder.graph()
    }

    fn admissible(&self) -> usize {
        usize::from(self.slots.used_images() < self.limits.max_batch)
    }

    fn admit(&mut self, inputs: &[TextInput<'_>], prompt: &[u32], waiting: usize) -> Result<Logits<'_>> {
        self.admitted = None;
        let &[input] = inputs else {
            return Err(self.graph().invalid("inputs are admitted one by one"));
        };
        let is_alone = self.slots.used().is_empty() && (waiting == 0 || self.limits.max_batch == 1);
        // The former tensors' memory is free before the new ones are made.
        if is_alone && self.slots.count() > 0 {
            self.tensors = StepTensors::empty(&self.model.decoder, self.limits.top_k, &self.times.runtime)?;
        }
        let first = self.prefill(input, prompt)?;
        let encoder_length = first.encoder_capacity();
        if is_alone {
            self.slots = Slots::new(1, 1);
            self.slots.admit(prompt.len(), encoder_length);
            self.tensors = first;
            return self.tensors.logits();
        }
        if self.slots.count() == 0 {
            self.slots = Slots::new(self.limits.max_batch.min(1 + waiting), 1);
        }
        self.ensure_capacity(prompt.len(), encoder_length)?;
        let Some((image, slot)) = self.slots.admit(prompt.len(), encoder_length) else {
            let used = self.slots.used_images();
            return Err(self
                .graph()
                .invalid(format!("no slot is free: {used} inputs are decoded")));
        };
        self.tensors.insert(image, slot, &first, prompt.len())?;
        self.admitted.insert(first).logits()
    }

    fn rows(&self) -> usize {
        self.slots.used().len()
    }

    fn step(&mut self, tokens: &[u32]) -> Result<Logits<'_>> {
        self.admitted = None;
        self.ensure_capacity(self.slots.longest() + 1, 0)?;
        self.slots.clear_unused();
        // Unused rows are computed too, with an arbitrary token.
        self.tokens.clear();
        self.tokens
            .resize(self.slots.count(), tokens.first().copied().unwrap_or(0));
        for (&slot, &token) in self.slots.used().iter().zip(tokens) {
            if let Some(fed) = self.tokens.get_mut(slot) {
                *fed = token;
            }
        }
        let (fed, slots) = (&self.tokens, &self.slots);
        let row = |slot| (fed.get(slot..=slot).unwrap_or_default(), slots.length(slot));
        self.tensors.run(1, row, slots.encoder_lengths())?;
        self.slots.advance();
        Ok(self.tensors.logits()?.at(self.slots.used()))
    }

    fn reorder(&mut self, parents: &[usize], waiting: usize) -> Result<()> {
        self.admitted = None;
        match self.slots.reorder(parents, waiting) {
            Some(Reordering { rows, images: None }) => self.tensors.reorder(&rows),
            Some(Reordering {
                rows,
                images: Some(images),
            }) => {
                let (capacity, encoder_capacity) = (self.tensors.capacity(), self.tensors.encoder_capacity());
                self.tensors
                    .resize(&self.slots, (capacity, &rows), (encoder_capacity, &images))
            }
            None => {
                let rows = self.rows();
                let reason = format!("its {rows} rows cannot be reordered to {parents:?}");
                Err(self.graph().invalid(reason))
            }
        }
    }

    fn not_finite(&self) -> Error {
        // Hidden states are checked when they are made; the caches that are made of them are not.
        let encoder = self.model.encoder.name();
        let mut tensors = [self.admitted.as_ref(), Some(&self.tensors)]
            .into_iter()
            .flatten();
        let cause = tensors.find_map(|tensors| tensors.check_cross_attention(encoder).err());
        match cause {
            Some(error @ Error::NotFinite { .. }) => error,
            _ => tensor::not_finite(self.graph().name(), LOGITS),
        }
    }
}
