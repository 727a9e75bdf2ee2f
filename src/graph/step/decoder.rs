//! Decoding over the graphs of the `step` layout.

use std::collections::VecDeque;

use florence2_layout::graphs::LOGITS;

use super::StepModel;
use super::batch::Batch;
use super::caches::Caches;
use super::moves::Move;
use super::rows::{Relocation, Reordered, Room, Rows};
use crate::error::{Error, Result};
use crate::generation::{Decoder, Logits};
use crate::graph::language_model::{Decoding, DecodingLimits, TextInput};
use crate::graph::tensor;
use crate::metrics::{DecodingTimes, timed};

/// Tokens that a row has room for at first, if it may need as many.
const FIRST_CAPACITY: usize = 32;

/// One decoding in progress. Inputs join one by one, as long as there is room.
///
/// An input that joins is encoded and fed its first tokens by itself, in tensors of its own. If no other is or will be
/// there at the same time, those are the batch's; otherwise they are copied into the batch's.
pub(super) struct StepDecoder<'m> {
    model: &'m StepModel,
    inputs: usize,
    waiting: VecDeque<TextInput<'m>>,
    limits: DecodingLimits,
    batch: Option<Batch<'m>>,
    rows: Rows,
    /// The tensors of the input that has joined last, whose logits are still to be looked at.
    joined: Option<Batch<'m>>,
    /// Memory for reordering.
    moves: Vec<Move>,
    /// Memory for what the rows of the tensors are fed.
    tokens: Vec<u32>,
    times: DecodingTimes,
}

impl<'m> StepDecoder<'m> {
    pub(super) fn new(model: &'m StepModel, inputs: Vec<TextInput<'m>>, limits: DecodingLimits) -> Self {
        Self {
            model,
            inputs: inputs.len(),
            waiting: inputs.into(),
            limits,
            batch: None,
            rows: Rows::new(Room { images: 0, width: 0 }),
            joined: None,
            moves: Vec::new(),
            tokens: Vec::new(),
            times: DecodingTimes::default(),
        }
    }

    /// Encodes an input and feeds it `prompt`.
    fn first_step(&mut self, input: TextInput<'m>, prompt: &[u32]) -> Result<Batch<'m>> {
        let (model, times) = (self.model, &mut self.times);
        let cross = timed(&mut times.text_encoder, || {
            model.encoder.run(input, &model.decoder, &mut times.runtime)
        })?;
        let encoder_length = cross.shape().length;
        let room = Room { images: 1, width: 1 };
        let capacity = self.capacity_for(prompt.len(), 0)?;
        let runtime = &mut self.times.runtime;
        let mut batch = Batch::new(
            &model.decoder,
            room,
            capacity,
            cross,
            self.limits.best_are_enough,
            runtime,
        )?;
        batch.set_encoder_length(0, encoder_length);
        batch.run(prompt.len(), |_| (prompt, 0), runtime)?;
        Ok(batch)
    }

    /// How many tokens a row should have room for, where it needs `needed` and has room for `present`: twice as many
    /// as before, but no more than will ever be needed.
    fn capacity_for(&self, needed: usize, present: usize) -> Result<usize> {
        let limit = self.limits.max_length;
        if needed > limit {
            return Err(Error::InvalidOption {
                name: "max_new_tokens",
                reason: format!("allows for {limit} tokens, but the decoder is fed {needed}"),
            });
        }
        let doubled = present.saturating_mul(2).max(FIRST_CAPACITY);
        Ok(doubled.min(limit).max(needed))
    }

    /// Makes the batch's tensors, or more of them, so that an input can join that has `encoder_length` encoder tokens
    /// and is fed `length` tokens.
    fn make_room(&mut self, encoder_length: usize, length: usize) -> Result<()> {
        let Some(batch) = &self.batch else {
            let room = Room {
                images: self.limits.max_batch.min(1 + self.waiting.len()),
                width: 1,
            };
            let decoder = &self.model.decoder;
            let shape = decoder.cache_shape(room.images, encoder_length);
            let capacity = self.capacity_for(length, 0)?;
            let runtime = &mut self.times.runtime;
            let cross = Caches::zeros(decoder.device_caches(), decoder.cross().len(), shape, runtime)?;
            self.batch = Some(Batch::new(
                decoder,
                room,
                capacity,
                cross,
                self.limits.best_are_enough,
                runtime,
            )?);
            self.rows = Rows::new(room);
            return Ok(());
        };
        let (capacity, encoder_capacity) = (batch.capacity(), batch.encoder_capacity());
        if length <= capacity && encoder_length <= encoder_capacity {
            return Ok(());
        }
        let capacity = if length > capacity {
            self.capacity_for(length, capacity)?
        } else {
            capacity
        };
        self.relocate(
            &self.rows.unmoved(),
            capacity,
            encoder_capacity.max(encoder_length),
        )
    }

    /// Grows the caches if the rows have no room for one more token.
    fn make_room_for_a_token(&mut self) -> Result<()> {
        let Some(batch) = &self.batch else { return Ok(()) };
        let (needed, capacity) = (self.rows.longest() + 1, batch.capacity());
        if needed <= capacity {
            return Ok(());
        }
        let encoder_capacity = batch.encoder_capacity();
        let capacity = self.capacity_for(needed, capacity)?;
        self.relocate(&self.rows.unmoved(), capacity, encoder_capacity)
    }

    /// Goes over to other tensors.
    fn relocate(&mut self, relocation: &Relocation, capacity: usize, encoder_capacity: usize) -> Result<()> {
        if let Some(batch) = self.batch.take() {
            let length = |place| self.rows.length(place);
            let runtime = &mut self.times.runtime;
            let batch = batch.relocated(relocation, capacity, encoder_capacity, length, runtime)?;
            self.batch = Some(batch);
        }
        Ok(())
    }

    fn invalid(&self, reason: impl Into<String>) -> Error {
        self.model.decoder.graph().invalid(reason)
    }
}

impl Decoder for StepDecoder<'_> {
    fn inputs(&self) -> usize {
        self.inputs
    }

    fn join(&mut self, prompt: &[u32]) -> Result<Option<Logits<'_>>> {
        self.joined = None;
        let present = self.rows.images();
        if present >= self.limits.max_batch {
            return Ok(None);
        }
        let Some(input) = self.waiting.pop_front() else {
            return Ok(None);
        };
        let stays_alone = present == 0 && (self.waiting.is_empty() || self.limits.max_batch == 1);
        if stays_alone {
            self.batch = None;
        }
        let first = self.first_step(input, prompt)?;
        let first = if stays_alone {
            self.rows = Rows::new(first.room());
            self.rows.join(0, prompt.len());
            self.batch.insert(first)
        } else {
            self.make_room(first.encoder_capacity(), prompt.len())?;
            let (Some(image), Some(batch)) = (self.rows.free_image(), &mut self.batch) else {
                return Err(self.invalid(format!("there is no room beside {present} inputs")));
            };
            let place = self.rows.join(image, prompt.len());
            let runtime = &mut self.times.runtime;
            batch.take_over(&first, image, place, prompt.len(), runtime)?;
            self.joined.insert(first)
        };
        first.logits().map(Some)
    }

    fn rows(&self) -> usize {
        self.rows.places().len()
    }

    fn step(&mut self, tokens: &[u32]) -> Result<Logits<'_>> {
        self.joined = None;
        let (&[first, ..], true) = (tokens, tokens.len() == self.rows()) else {
            return Err(self.invalid(format!("it has {} rows for {} tokens", self.rows(), tokens.len())));
        };
        self.make_room_for_a_token()?;
        self.rows.clear_unused();
        // Rows that are not in use run along; any token will do.
        self.tokens.clear();
        self.tokens.resize(self.rows.room().rows(), first);
        for (&place, &token) in self.rows.places().iter().zip(tokens) {
            if let Some(fed) = self.tokens.get_mut(place) {
                *fed = token;
            }
        }
        let Some(batch) = &mut self.batch else {
            return Err(self.model.decoder.graph().invalid("no input has joined"));
        };
        let (fed, rows) = (&self.tokens, &self.rows);
        let row = |place| (fed.get(place..=place).unwrap_or_default(), rows.length(place));
        batch.run(1, row, &mut self.times.runtime)?;
        self.rows.advance();
        Ok(batch.logits()?.at(self.rows.places()))
    }

    fn reorder(&mut self, parents: &[usize]) -> Result<()> {
        self.joined = None;
        self.moves.clear();
        match self.rows.reorder(parents, self.waiting.len(), &mut self.moves) {
            None => Err(self.invalid(format!("its {} rows cannot continue as {parents:?}", self.rows()))),
            Some(Reordered::InPlace) => {
                if let Some(batch) = &mut self.batch {
                    batch.carry_out(&self.moves, &mut self.times.runtime)?;
                }
                Ok(())
            }
            Some(Reordered::Elsewhere(relocation)) => {
                let (capacity, encoder_capacity) = match &self.batch {
                    Some(batch) => (batch.capacity(), batch.encoder_capacity()),
                    None => return Ok(()),
                };
                self.relocate(&relocation, capacity, encoder_capacity)
            }
        }
    }
}

impl Decoding for StepDecoder<'_> {
    fn times(&self) -> DecodingTimes {
        self.times
    }

    /// Hidden states were checked as they were made, the caches that are made of them were not.
    fn cause(&self) -> Error {
        let model = self.model;
        let batches = [&self.joined, &self.batch].into_iter().flatten();
        let caches = batches.flat_map(|batch| model.decoder.cross().iter().zip(batch.cross()));
        let graph = model.encoder.graph().name();
        let mut errors = caches.filter_map(|(names, cache)| {
            let checked = tensor::check_finite_value(cache, graph, &names.present);
            checked
                .err()
                .filter(|error| matches!(error, Error::NotFinite { .. }))
        });
        errors
            .next()
            .unwrap_or_else(|| tensor::not_finite(model.decoder.graph().name(), LOGITS))
    }
}
