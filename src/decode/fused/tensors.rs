//! The tensors of decoder steps, bound once for many runs.

use florence2_layout::graphs::{ENCODER_SEQUENCE_LENGTHS, INPUT_IDS, LOGITS, PAST_SEQUENCE_LENGTHS};
use ndarray::ArrayView2;
use ort::session::IoBinding;
use ort::value::{DynValue, Tensor};

use super::decoder::FusedDecoder;
use crate::decode::device_top_k::{DeviceLogits, DeviceTopK};
use crate::decode::kv_cache::{KvCache, zeros};
use crate::decode::slots::{RowCopy, Slots};
use crate::error::{Error, Result};
use crate::generation::Logits;
use crate::metrics::Stopwatch;
use crate::session::tensor;

/// The bound tensors of decoder steps. A run reads and writes them in place.
pub(super) struct StepTensors<'m> {
    decoder: &'m FusedDecoder,
    clock: Stopwatch,
    /// `[rows, tokens]`
    ids: Tensor<i64>,
    /// `[rows]`
    past_lengths: Tensor<i32>,
    /// `[images]`
    encoder_lengths: Tensor<i32>,
    /// A row for each slot.
    self_attention: KvCache<'m>,
    /// A row for each image.
    cross_attention: KvCache<'m>,
    logits: StepLogits<'m>,
    binding: IoBinding,
}

/// The output of a step, `[rows, vocabulary]`.
enum StepLogits<'m> {
    Host(Tensor<f32>),
    /// In the device's memory; `None` before the first run.
    Device(&'m DeviceTopK, Option<Box<DeviceLogits<'m>>>),
}

impl<'m> StepTensors<'m> {
    /// Makes the other tensors for these caches. With `top_k`, logits stay in the device's memory if the decoder
    /// supports device top-k.
    pub(super) fn new(
        decoder: &'m FusedDecoder,
        self_attention: KvCache<'m>,
        cross_attention: KvCache<'m>,
        top_k: bool,
        clock: &Stopwatch,
    ) -> Result<Self> {
        let (rows, images) = (self_attention.shape().rows, cross_attention.shape().rows);
        let graph = decoder.graph();
        let context = || Error::ort(format!("binding {LOGITS} to {}", graph.name()));
        let mut binding = graph.binding()?;
        let device_top_k = decoder.device_top_k().filter(|_| top_k);
        let logits = match device_top_k.zip(graph.memory()) {
            Some((top_k, memory)) => {
                let bound = binding.bind_output_to_device(LOGITS, &memory.info()?);
                bound.map_err(context())?;
                StepLogits::Device(top_k, None)
            }
            None => {
                let mut logits = zeros(&[rows, decoder.vocabulary()])?;
                binding.bind_output(LOGITS, &mut logits).map_err(context())?;
                StepLogits::Host(logits)
            }
        };
        let mut tensors = Self {
            decoder,
            clock: clock.clone(),
            ids: zeros(&[rows, 1])?,
            past_lengths: zeros(&[rows])?,
            encoder_lengths: zeros(&[images])?,
            self_attention,
            cross_attention,
            logits,
            binding,
        };
        if !tensors.is_on_device() {
            tensors.bind_integers()?;
        }
        tensors.bind_caches()?;
        Ok(tensors)
    }

    /// Makes tensors without rows.
    pub(super) fn empty(decoder: &'m FusedDecoder, top_k: bool, clock: &Stopwatch) -> Result<Self> {
        let empty = || KvCache::empty(decoder.format(), clock);
        Self::new(decoder, empty(), empty(), top_k, clock)
    }

    fn bind_caches(&mut self) -> Result<()> {
        let binding = &mut self.binding;
        let caches = self.decoder.caches();
        let self_attention = caches
            .self_attention
            .iter()
            .zip(self.self_attention.tensors_mut());
        let cross_attention = caches.cross_attention.iter().zip(self.cross_attention.tensors());
        let bind = || {
            for (names, tensor) in self_attention {
                binding.bind_input(&names.past, tensor)?;
                binding.bind_output(&names.present, tensor)?;
            }
            for (names, tensor) in cross_attention {
                binding.bind_input(&names.past, tensor)?;
            }
            Ok(())
        };
        bind().map_err(binding_failed(self.decoder))
    }

    fn bind_integers(&mut self) -> Result<()> {
        let binding = &mut self.binding;
        let mut bind = || {
            binding.bind_input(INPUT_IDS, &self.ids)?;
            binding.bind_input(PAST_SEQUENCE_LENGTHS, &self.past_lengths)?;
            binding.bind_input(ENCODER_SEQUENCE_LENGTHS, &self.encoder_lengths)
        };
        bind().map_err(binding_failed(self.decoder))
    }

    fn is_on_device(&self) -> bool {
        self.decoder.format().device.is_some()
    }

    /// Returns the number of tokens that each row has capacity for.
    pub(super) fn capacity(&self) -> usize {
        self.self_attention.shape().capacity
    }

    /// Returns the number of encoder tokens that each image has capacity for.
    pub(super) fn encoder_capacity(&self) -> usize {
        self.cross_attention.shape().capacity
    }

    /// Runs a step of `width` tokens a row: `row(i)` has row `i`'s tokens, and the number of tokens in its cache.
    pub(super) fn run<'t>(
        &mut self,
        width: usize,
        row: impl Fn(usize) -> (&'t [u32], usize),
        encoder_lengths: &[usize],
    ) -> Result<()> {
        let as_i32 = |length: usize| i32::try_from(length).unwrap_or(i32::MAX);
        let (shape, _) = self.ids.extract_tensor();
        let is_other_width = shape.last().is_none_or(|&present| present != width as i64);
        if is_other_width {
            self.ids = zeros(&[self.self_attention.shape().rows, width])?;
        }
        let ids = self.ids.extract_tensor_mut().1.chunks_exact_mut(width.max(1));
        let lengths = self.past_lengths.extract_tensor_mut().1;
        for (index, (ids, length)) in ids.zip(lengths).enumerate() {
            let (tokens, past) = row(index);
            for (id, &token) in ids.iter_mut().zip(tokens) {
                *id = i64::from(token);
            }
            *length = as_i32(past);
        }
        let lengths = self.encoder_lengths.extract_tensor_mut().1;
        for (bound, &length) in lengths.iter_mut().zip(encoder_lengths) {
            *bound = as_i32(length);
        }
        // A device gets the values at the time of binding; the CPU reads them in each run.
        if is_other_width || self.is_on_device() {
            self.bind_integers()?;
        }
        let graph = self.decoder.graph();
        let StepLogits::Device(top_k, selected) = &mut self.logits else {
            graph.run_bound(&self.binding, None, &self.clock)?;
            return Ok(());
        };
        let logits = graph.run_bound(&self.binding, Some(LOGITS), &self.clock)?;
        let logits = logits.ok_or_else(|| graph.invalid(format!("it returned no {LOGITS}")))?;
        *selected = Some(Box::new(top_k.select(logits, &self.clock)?));
        Ok(())
    }

    /// Returns the logits of all rows after the last run.
    pub(super) fn logits(&self) -> Result<Logits<'_>> {
        let graph = self.decoder.graph();
        match &self.logits {
            StepLogits::Host(logits) => {
                let shape = (self.self_attention.shape().rows, self.decoder.vocabulary());
                let logits = ArrayView2::from_shape(shape, logits.extract_tensor().1);
                let logits = logits.map_err(|error| graph.invalid(format!("{LOGITS}: {error}")))?;
                Ok(Logits::new(logits))
            }
            StepLogits::Device(_, Some(logits)) => Ok(Logits::top_k(&**logits)),
            StepLogits::Device(_, None) => Err(graph.invalid("no step was taken")),
        }
    }

    /// Copies rows of the self-attention cache over each other.
    pub(super) fn reorder(&mut self, copies: &[RowCopy]) -> Result<()> {
        if self.self_attention.reorder(copies)? {
            self.bind_caches()?;
        }
        Ok(())
    }

    /// Copies the only image of other tensors, with its row of `length` tokens, into `image` and `slot`.
    pub(super) fn insert(&mut self, image: usize, slot: usize, other: &Self, length: usize) -> Result<()> {
        let encoder_length = other.encoder_capacity();
        self.cross_attention
            .insert(image, &other.cross_attention, encoder_length)?;
        self.self_attention.insert(slot, &other.self_attention, length)?;
        self.bind_caches()
    }

    /// Reallocates the tensors for `slots`: the self-attention cache with its capacity in tokens and the rows to
    /// copy, the cross-attention cache with its capacity in encoder tokens and the images to copy.
    pub(super) fn resize(
        &mut self,
        slots: &Slots,
        (capacity, rows): (usize, &[RowCopy]),
        (encoder_capacity, images): (usize, &[RowCopy]),
    ) -> Result<()> {
        self.cross_attention
            .resize(slots.images(), encoder_capacity, images)?;
        self.self_attention.resize(slots.count(), capacity, rows)?;
        let (self_cache, cross_cache) = (self.self_attention.take(), self.cross_attention.take());
        let top_k = matches!(self.logits, StepLogits::Device(..));
        *self = Self::new(self.decoder, self_cache, cross_cache, top_k, &self.clock.clone())?;
        Ok(())
    }

    /// Returns the error of the first cross-attention cache with values that are not finite, made by graph `encoder`.
    pub(super) fn check_cross_attention(&self, encoder: &str) -> Result<()> {
        if self.is_on_device() {
            return Ok(());
        }
        let names = self.decoder.caches().cross_attention.iter();
        let mut caches = names.zip(self.cross_attention.tensors());
        caches.try_for_each(|(names, cache): (_, &DynValue)| {
            tensor::check_finite_value(cache, encoder, &names.present)
        })
    }
}

fn binding_failed(decoder: &FusedDecoder) -> impl FnOnce(ort::Error) -> Error + use<> {
    Error::ort(format!("binding tensors to {}", decoder.graph().name()))
}
