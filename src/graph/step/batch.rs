//! The tensors of decoder steps, bound once for many of them.

use florence2_layout::graphs::{ENCODER_SEQUENCE_LENGTHS, INPUT_IDS, LOGITS, PAST_SEQUENCE_LENGTHS};
use ndarray::ArrayView2;
use ort::memory::MemoryInfo;
use ort::session::IoBinding;
use ort::value::Tensor;

use super::caches::{CacheShape, Caches, Passage, zeros};
use super::decoder_step::DecoderStep;
use super::moves::Move;
use super::rows::{Relocation, Room};
use crate::error::{Error, Result};
use crate::generation::Logits;
use crate::graph::chooser::{Chooser, ChosenLogits};

/// The tensors of decoder steps: all are written to and read from where they are, run after run.
pub(super) struct Batch<'m> {
    model: &'m DecoderStep,
    room: Room,
    /// `[rows, tokens]`
    ids: Tensor<i64>,
    /// `[rows]`
    past_lengths: Tensor<i32>,
    /// `[images]`
    encoder_lengths: Tensor<i32>,
    /// Self-attention; a row for each row.
    own: Caches<'m>,
    /// Cross-attention; a row for each image.
    cross: Caches<'m>,
    logits: StepLogits<'m>,
    binding: IoBinding,
}

/// Where a step puts its logits, `[rows, vocabulary]`.
enum StepLogits<'m> {
    /// In the processor's memory.
    Here(Tensor<f32>),
    /// In the device's, from which the best come after each run.
    OnDevice {
        chooser: &'m Chooser,
        chosen: Option<Box<ChosenLogits<'m>>>,
    },
}

impl<'m> StepLogits<'m> {
    /// Bound to the decoder's step. If the best are enough, and can be chosen where they are, the others stay there.
    fn bound(
        model: &'m DecoderStep,
        room: Room,
        best_are_enough: bool,
        binding: &mut IoBinding,
    ) -> Result<Self> {
        let context = Error::ort(format!("binding {LOGITS} to {}", model.graph().name()));
        match model.chooser().filter(|_| best_are_enough) {
            Some((chooser, memory)) => {
                let memory: MemoryInfo<'_> = memory.info()?;
                binding.bind_output_to_device(LOGITS, &memory).map_err(context)?;
                let chosen = None;
                Ok(Self::OnDevice { chooser, chosen })
            }
            None => {
                let mut logits = zeros(&[room.rows(), model.vocabulary()])?;
                binding.bind_output(LOGITS, &mut logits).map_err(context)?;
                Ok(Self::Here(logits))
            }
        }
    }
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
        let shape = CacheShape {
            rows: room.rows(),
            heads: model.heads(),
            length: capacity,
            head_size: model.head_size(),
        };
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
        let rows = room.rows();
        let mut encoder_lengths = zeros(&[room.images])?;
        // Something must be attended to, even where no image is.
        encoder_lengths.extract_tensor_mut().1.fill(1);
        let mut binding = model.graph().binding()?;
        let logits = StepLogits::bound(model, room, best_are_enough, &mut binding)?;
        let mut batch = Self {
            model,
            room,
            ids: zeros(&[rows, 1])?,
            past_lengths: zeros(&[rows])?,
            encoder_lengths,
            own,
            cross,
            logits,
            binding,
        };
        batch.bind_integers()?;
        batch.bind_caches()?;
        Ok(batch)
    }

    fn bind_caches(&mut self) -> Result<()> {
        let context = self.binding_tensors();
        let mut bind = || -> ort::Result<()> {
            let binding = &mut self.binding;
            for (names, tensor) in self.model.own().iter().zip(self.own.tensors_mut()) {
                binding.bind_input(&names.past, tensor)?;
                binding.bind_output(&names.present, tensor)?;
            }
            for (names, tensor) in self.model.cross().iter().zip(self.cross.tensors()) {
                binding.bind_input(&names.past, tensor)?;
            }
            Ok(())
        };
        bind().map_err(context)
    }

    /// Binds what differs from run to run. The processor sees later changes; a device has what is there now.
    fn bind_integers(&mut self) -> Result<()> {
        let context = self.binding_tensors();
        let mut bind = || -> ort::Result<()> {
            let binding = &mut self.binding;
            binding.bind_input(INPUT_IDS, &self.ids)?;
            binding.bind_input(PAST_SEQUENCE_LENGTHS, &self.past_lengths)?;
            binding.bind_input(ENCODER_SEQUENCE_LENGTHS, &self.encoder_lengths)
        };
        bind().map_err(context)
    }

    fn binding_tensors(&self) -> impl FnOnce(ort::Error) -> Error + use<> {
        Error::ort(format!("binding tensors to {}", self.model.graph().name()))
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
        if let Some(known) = self.encoder_lengths.extract_tensor_mut().1.get_mut(image) {
            *known = i32::try_from(length).unwrap_or(i32::MAX);
        }
    }

    /// Runs a step of `width` tokens a row: row `place` of the tensors is fed `row(place)`, its tokens and how many it
    /// holds already. Adds the time within the runtime to `runtime`.
    pub(super) fn run<'t>(
        &mut self,
        width: usize,
        row: impl Fn(usize) -> (&'t [u32], usize),
        runtime: &mut f64,
    ) -> Result<()> {
        let (shape, _) = self.ids.extract_tensor();
        let is_other_width = shape.last().is_none_or(|&present| present != width as i64);
        if is_other_width {
            self.ids = zeros(&[self.room.rows(), width])?;
        }
        let ids = self.ids.extract_tensor_mut().1.chunks_exact_mut(width.max(1));
        let lengths = self.past_lengths.extract_tensor_mut().1;
        for (place, (ids, length)) in ids.zip(lengths).enumerate() {
            let (tokens, past) = row(place);
            for (id, &token) in ids.iter_mut().zip(tokens) {
                *id = i64::from(token);
            }
            *length = i32::try_from(past).unwrap_or(i32::MAX);
        }
        if is_other_width || self.model.device_caches().is_some() {
            self.bind_integers()?;
        }
        let graph = self.model.graph();
        match &mut self.logits {
            StepLogits::Here(_) => graph.run_bound(&self.binding, runtime),
            StepLogits::OnDevice { chooser, chosen } => {
                let logits = graph.run_bound_for(&self.binding, LOGITS, runtime)?;
                *chosen = Some(Box::new(chooser.choose(logits, runtime)?));
                Ok(())
            }
        }
    }

    /// The logits of all rows after the last run.
    pub(super) fn logits(&self) -> Result<Logits<'_>> {
        let graph = self.model.graph();
        match &self.logits {
            StepLogits::Here(logits) => {
                let shape = (self.room.rows(), self.model.vocabulary());
                let logits = ArrayView2::from_shape(shape, logits.extract_tensor().1);
                logits
                    .map(Logits::new)
                    .map_err(|error| graph.invalid(format!("{LOGITS}: {error}")))
            }
            StepLogits::OnDevice { chosen, .. } => match chosen {
                Some(chosen) => Ok(Logits::best(&**chosen)),
                None => Err(graph.invalid("no step was taken")),
            },
        }
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
        let encoder_lengths: Vec<usize> = self
            .encoder_lengths
            .extract_tensor()
            .1
            .iter()
            .map(|&length| usize::try_from(length).unwrap_or(0))
            .collect();
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
        let best_are_enough = matches!(self.logits, StepLogits::OnDevice { .. });
        let mut batch = Self::with_caches(self.model, room, own, cross, best_are_enough)?;
        for Passage { to, length, .. } in images {
            batch.set_encoder_length(to, length);
        }
        Ok(batch)
    }
}
