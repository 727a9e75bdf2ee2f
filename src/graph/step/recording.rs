//! One recording: tensors that keep their places, and the runs on them.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread::{self, ThreadId};

use florence2_layout::graphs::LOGITS;
use ort::session::{IoBinding, RunOptions};
use ort::value::{DynValue, DynValueRef};

use super::caches::DeviceCaches;
use super::decoder_step::DecoderStep;
use super::integers::Integers;
use super::recordings::{INTEGERS, RecordingShape, Recordings};
use crate::error::{Error, Result};

/// Runs of each recording that are compared with plain ones, for each thread, since threads have recordings of their own in
/// ONNX Runtime: the first, which is recorded, and one that repeats it.
const CHECKED_RUNS: u32 = 2;
/// By how much, in parts of the largest logit, a repeated run may differ from a plain one: kernels may add in another order.
const TOLERANCE: f32 = 1e-2;

/// Tensors that keep their places, for one decoding at a time.
pub(super) struct Recording {
    shape: RecordingShape,
    /// What brings whole numbers to where the step reads them.
    placing: IoBinding,
    /// Cross-attention
    cross: Vec<DynValue>,
    /// `[rows, vocabulary]`
    logits: Arc<DynValue>,
    sides: [Side; 2],
    /// Which of the sides holds the rows.
    current: usize,
}

/// What is recorded for one of the sets of self-attention caches.
struct Side {
    own: Vec<DynValue>,
    binding: IoBinding,
    /// What puts rows into the other side.
    to_other: IoBinding,
    /// Say which recording it is.
    options: RunOptions,
    /// How many runs of a thread were as they should be, up to [`CHECKED_RUNS`].
    checked: HashMap<ThreadId, u32>,
}

impl Recording {
    /// With two numbers of its own, from `number` on.
    pub(super) fn new(
        number: usize,
        recordings: &Recordings,
        model: &DecoderStep,
        caches: &DeviceCaches,
        shape: RecordingShape,
        runtime: &mut f64,
    ) -> Result<Self> {
        let (rows, images) = (shape.room.rows(), shape.room.images);
        let mut integers = recordings.placed(&Integers::new(shape.room)?.tensors(), runtime)?;
        let cross = caches.zeros(model.cache_shape(images, shape.encoder_capacity), runtime)?;
        let mut logits = recordings.logits(rows, model.vocabulary(), runtime)?;
        let mut own = || caches.zeros(model.cache_shape(rows, shape.capacity), runtime);
        let (mut first, mut second) = (own()?, own()?);
        let mut bound = |own: &mut [DynValue]| bound(model, own, &integers, &cross, &mut logits);
        let bindings = [bound(&mut first)?, bound(&mut second)?];
        let to_other = [
            caches.reordering(&first, &mut second)?,
            caches.reordering(&second, &mut first)?,
        ];
        let mut number = number;
        let mut side = |own, binding, to_other| {
            let options = model.graph().recorded_run_options(number)?;
            number += 1;
            Ok::<_, Error>(Side {
                own,
                binding,
                to_other,
                options,
                checked: HashMap::new(),
            })
        };
        let ([binding, other_binding], [to_second, to_first]) = (bindings, to_other);
        Ok(Self {
            shape,
            placing: recordings.placing(&mut integers)?,
            cross,
            logits: Arc::new(logits),
            sides: [
                side(first, binding, to_second)?,
                side(second, other_binding, to_first)?,
            ],
            current: 0,
        })
    }

    pub(super) fn shape(&self) -> RecordingShape {
        self.shape
    }

    /// Takes over caches, self-attention's and cross-attention's, with no more room than these.
    pub(super) fn take_over(
        &mut self,
        caches: &DeviceCaches,
        (own, capacity): (&[DynValue], usize),
        (cross, encoder_capacity): (&[DynValue], usize),
        runtime: &mut f64,
    ) -> Result<()> {
        self.current = 0;
        let more = self.shape.capacity.saturating_sub(capacity);
        let [side, _] = &mut self.sides;
        caches.lengthened_into(own, more, &mut side.own, runtime)?;
        let more = self.shape.encoder_capacity.saturating_sub(encoder_capacity);
        caches.lengthened_into(cross, more, &mut self.cross, runtime)
    }

    /// Copies of the caches, of self-attention and of cross-attention, with [its room](RecordingShape).
    pub(super) fn copies(
        &self,
        caches: &DeviceCaches,
        runtime: &mut f64,
    ) -> Result<(Vec<DynValue>, Vec<DynValue>)> {
        let own = self.sides.get(self.current).map_or(&[][..], |side| &side.own);
        let rows: Vec<usize> = (0..self.shape.room.rows()).collect();
        let images: Vec<usize> = (0..self.shape.room.images).collect();
        Ok((
            caches.gathered(own, &rows, runtime)?,
            caches.gathered(&self.cross, &images, runtime)?,
        ))
    }

    /// Row `i` becomes a copy of row `sources[i]`.
    pub(super) fn reorder(
        &mut self,
        caches: &DeviceCaches,
        sources: &[usize],
        runtime: &mut f64,
    ) -> Result<()> {
        if let Some(side) = self.sides.get_mut(self.current) {
            caches.reorder(&mut side.to_other, sources, runtime)?;
            self.current = 1 - self.current;
        }
        Ok(())
    }

    /// A step; gives its logits, which are this recording's as long as it is held, and until the next step.
    pub(super) fn run(
        &mut self,
        recordings: &Recordings,
        model: &DecoderStep,
        integers: &[(&str, DynValueRef<'_>)],
        runtime: &mut f64,
    ) -> Result<Arc<DynValue>> {
        recordings.place(&mut self.placing, integers, runtime)?;
        let graph = model.graph();
        let Some(side) = self.sides.get_mut(self.current) else {
            return Err(graph.invalid("its recording has no such side"));
        };
        let checked = side.checked.entry(thread::current().id()).or_default();
        let Some((chooser, _)) = model.chooser().filter(|_| *checked < CHECKED_RUNS) else {
            graph.run_recorded(&side.binding, &side.options, runtime)?;
            return Ok(Arc::clone(&self.logits));
        };
        graph.record(&side.binding, &side.options, runtime)?;
        let recorded = chooser.all(&self.logits, runtime)?;
        // A step that is repeated writes to the caches what is there already, or should be.
        graph.run_bound(&side.binding, runtime)?;
        let plain = chooser.all(&self.logits, runtime)?;
        let largest = plain
            .iter()
            .fold(0.0_f32, |largest, logit| largest.max(logit.abs()));
        let differs = |(a, b): (&f32, &f32)| (a - b).abs() > TOLERANCE * largest || a.is_nan() != b.is_nan();
        if plain.iter().zip(&recorded).any(differs) {
            return Err(graph.invalid(
                "a recorded step (CUDA graphs) gives other logits than a plain one: leave CUDA graphs out, and report it",
            ));
        }
        *checked += 1;
        Ok(Arc::clone(&self.logits))
    }
}

/// The decoder's step on these tensors.
fn bound(
    model: &DecoderStep,
    own: &mut [DynValue],
    integers: &[DynValue],
    cross: &[DynValue],
    logits: &mut DynValue,
) -> Result<IoBinding> {
    let graph = model.graph();
    let mut binding = graph.binding()?;
    let bind = || -> ort::Result<()> {
        for ((name, ..), value) in INTEGERS.into_iter().zip(integers) {
            binding.bind_input(name, value)?;
        }
        model.bind_caches(&mut binding, own, cross)?;
        binding.bind_output(LOGITS, logits)
    };
    bind().map_err(Error::ort(format!("binding tensors to {}", graph.name())))?;
    Ok(binding)
}
