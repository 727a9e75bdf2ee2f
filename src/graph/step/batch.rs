//! The tensors of decoder steps, bound once for many of them.

use ort::session::IoBinding;
use ort::value::DynValue;

use super::caches::{Caches, Passage};
use super::decoder_step::DecoderStep;
use super::integers::Integers;
use super::moves::Move;
use super::rows::{Relocation, Room};
use super::step_logits::StepLogits;
use crate::error::{Error, Result};
use crate::generation::Logits;

/// The tensors of decoder steps: all are written to and read from where they are, run after run.
pub(super) struct Batch<'m> {
    model: &'m DecoderStep,
    room: Room,
    integers: Integers,
    /// Self-attention; a row for each row.
    own: Caches<'m>,
    /// Cross-attention; a row for each image.
    cross: Caches<'m>,
    logits: StepLogits<'m>,
    binding: IoBinding,
}

impl<'m> Batch<'m> {
    /// Tensors for rows of up to `capacity` tokens that attend to `cross`. Adds the time within the runtime to `runtime`.
    pub(super) fn new(
        model: &'m DecoderStep,
        room: Room,
        capacity: usize,
        cross: Caches<'m>,
        best_are_enough: bool,
        runtime: &mut f64,
    ) -> Result<Self> {
        let shape = model.cache_shape(room.rows(), capacity);
        let own = Caches::zeros(model.device_caches(), model.own().len(), shape, runtime)?;
        Self::with_caches(model, room, own, cross, best_are_enough)
    }

    fn with_caches(
        model: &'m DecoderStep,
        room: Room,
        own: Caches<'m>,
        cross: Caches<'m>,
        best_are_enough: bool,
    ) -> Result<Self> {
        let mut binding = model.graph().binding()?;
        let logits = StepLogits::bound(model, room, best_are_enough, &mut binding)?;
        let mut batch = Self {
            model,
            room,
            integers: Integers::new(room)?,
            own,
            cross,
            logits,
            binding,
        };
        if model.device_caches().is_none() {
            // Elsewhere that is done for each run.
            batch.bind_integers()?;
        }
        batch.bind_caches()?;
        Ok(batch)
    }

    fn bind_caches(&mut self) -> Result<()> {
        let context = self.binding_tensors();
        let (own, cross) = (self.own.tensors_mut(), self.cross.tensors());
        self.model
            .bind_caches(&mut self.binding, own, cross)
            .map_err(context)
    }

    /// Binds what differs from run to run. The processor sees later changes; a device has what is there now.
    fn bind_integers(&mut self) -> Result<()> {
        let context = self.binding_tensors();
        let binding = &mut self.binding;
        let tensors = self.integers.tensors();
        let mut inputs = tensors.iter();
        inputs
            .try_for_each(|(name, value)| binding.bind_input(*name, value))
            .map_err(context)
    }

    fn binding_tensors(&self) -> impl FnOnce(ort::Error) -> Error + use<> {
        Error::ort(format!("binding tensors to {}", self.model.graph().name()))
    }

    /// Returns the cross-attention caches if they are in the CPU's memory.
    pub(super) fn cross(&self) -> &[DynValue] {
        match self.model.device_caches() {
            None => self.cross.tensors(),
            Some(_) => &[],
        }
    }

    pub(super) fn room(&self) -> Room {
        self.room
    }

    /// Tokens that each row has room for.
    pub(super) fn capacity(&self) -> usize {
        self.own.shape().length
    }

    /// Encoder tokens that each image has room for.
    pub(super) fn encoder_capacity(&self) -> usize {
        self.cross.shape().length
    }

    /// Says how much of an image's cross-attention caches there is.
    pub(super) fn set_encoder_length(&mut self, image: usize, length: usize) {
        self.integers.set_encoder_length(image, length);
    }

    /// Runs a step of `width` tokens a row: row `place` of the tensors is fed `row(place)`, its tokens and how many it
    /// holds already. Adds the time within the runtime to `runtime`.
    pub(super) fn run<'t>(
        &mut self,
        width: usize,
        row: impl Fn(usize) -> (&'t [u32], usize),
        runtime: &mut f64,
    ) -> Result<()> {
        let is_other_width = self.integers.fill(width, row)?;
        if is_other_width || self.model.device_caches().is_some() {
            self.bind_integers()?;
        }
        self.logits.run(self.model, &self.binding, runtime)
    }

    /// The logits of all rows after the last run.
    pub(super) fn logits(&self) -> Result<Logits<'_>> {
        self.logits.read(self.model, self.room)
    }

    /// Moves rows of the self-attention caches. Adds the time within the runtime to `runtime`.
    pub(super) fn carry_out(&mut self, moves: &[Move], runtime: &mut f64) -> Result<()> {
        match self.own.carry_out(moves, runtime)? {
            true => self.bind_caches(),
            false => Ok(()),
        }
    }

    /// Takes over another batch's only image, with its first row of `length` tokens. Adds the time within the runtime to
    /// `runtime`.
    pub(super) fn take_over(
        &mut self,
        other: &Self,
        image: usize,
        place: usize,
        length: usize,
        runtime: &mut f64,
    ) -> Result<()> {
        let encoder_length = other.cross.shape().length;
        self.cross
            .replace_row(image, &other.cross, encoder_length, runtime)?;
        self.set_encoder_length(image, encoder_length);
        self.own.replace_row(place, &other.own, length, runtime)?;
        self.bind_caches()
    }

    /// The same images and rows in other tensors: with room for `capacity` tokens a row and for
    /// `encoder_capacity` encoder tokens an image. `length` gives the tokens that a row of the new tensors holds. Adds
    /// the time within the runtime to `runtime`.
    pub(super) fn relocated(
        mut self,
        relocation: &Relocation,
        capacity: usize,
        encoder_capacity: usize,
        length: impl Fn(usize) -> usize,
        runtime: &mut f64,
    ) -> Result<Self> {
        let room = relocation.room;
        let encoder_lengths = self.integers.encoder_lengths();
        let images = relocation.images.iter().enumerate().filter_map(|(to, &from)| {
            let length = *encoder_lengths.get(from)?;
            Some(Passage { from, to, length })
        });
        let images: Vec<Passage> = images.collect();
        let rows = relocation.rows.iter().map(|&(from, to)| Passage {
            from,
            to,
            length: length(to),
        });
        let rows: Vec<Passage> = rows.collect();
        let stays = room.images == self.room.images
            && encoder_capacity == self.encoder_capacity()
            && relocation.images.iter().copied().eq(0..relocation.images.len());
        let cross = if stays {
            self.cross.take()
        } else {
            self.cross
                .relocated(room.images, encoder_capacity, &images, runtime)?
        };
        let own = self.own.relocated(room.rows(), capacity, &rows, runtime)?;
        let best_are_enough = self.logits.are_on_device();
        let mut batch = Self::with_caches(self.model, room, own, cross, best_are_enough)?;
        for Passage { to, length, .. } in images {
            batch.set_encoder_length(to, length);
        }
        Ok(batch)
    }
}
