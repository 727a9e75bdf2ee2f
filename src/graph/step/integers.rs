//! The whole numbers that a step is told.

use florence2_layout::graphs::{ENCODER_SEQUENCE_LENGTHS, INPUT_IDS, PAST_SEQUENCE_LENGTHS};
use ort::value::{DynValueRef, Tensor};

use super::caches::zeros;
use super::rows::Room;
use crate::error::Result;

/// What a step is told, in the processor's memory.
pub(super) struct Integers {
    rows: usize,
    /// `[rows, tokens]`
    ids: Tensor<i64>,
    /// `[rows]`
    past_lengths: Tensor<i32>,
    /// `[images]`
    encoder_lengths: Tensor<i32>,
}

impl Integers {
    pub(super) fn new(room: Room) -> Result<Self> {
        let rows = room.rows();
        let mut encoder_lengths = zeros(&[room.images])?;
        // Something must be attended to, even where no image is.
        encoder_lengths.extract_tensor_mut().1.fill(1);
        Ok(Self {
            rows,
            ids: zeros(&[rows, 1])?,
            past_lengths: zeros(&[rows])?,
            encoder_lengths,
        })
    }

    /// The tensors, by the decoder's names for them.
    pub(super) fn tensors(&self) -> [(&'static str, DynValueRef<'_>); 3] {
        [
            (INPUT_IDS, self.ids.view().into_dyn()),
            (PAST_SEQUENCE_LENGTHS, self.past_lengths.view().into_dyn()),
            (ENCODER_SEQUENCE_LENGTHS, self.encoder_lengths.view().into_dyn()),
        ]
    }

    /// Says how much of an image's cross-attention caches there is.
    pub(super) fn set_encoder_length(&mut self, image: usize, length: usize) {
        if let Some(known) = self.encoder_lengths.extract_tensor_mut().1.get_mut(image) {
            *known = i32::try_from(length).unwrap_or(i32::MAX);
        }
    }

    /// How much of each image's cross-attention caches there is.
    pub(super) fn encoder_lengths(&self) -> Vec<usize> {
        let lengths = self.encoder_lengths.extract_tensor().1.iter();
        lengths
            .map(|&length| usize::try_from(length).unwrap_or(0))
            .collect()
    }

    /// For a step of `width` tokens a row: row `place` is fed `row(place)`, its tokens and how many it holds already.
    /// Whether the tensors are others now.
    pub(super) fn fill<'t>(
        &mut self,
        width: usize,
        row: impl Fn(usize) -> (&'t [u32], usize),
    ) -> Result<bool> {
        let (shape, _) = self.ids.extract_tensor();
        let is_other_width = shape.last().is_none_or(|&present| present != width as i64);
        if is_other_width {
            self.ids = zeros(&[self.rows, width])?;
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
        Ok(is_other_width)
    }
}
