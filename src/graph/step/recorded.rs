//! Steps whose tensors keep their sizes and places in the device's memory, so that what the device does in one of them can
//! be recorded and done again in the next, without being told anew (CUDA graphs).
//!
//! A recording has two sets of self-attention caches, as rows that move go over from one to the other, and what is recorded
//! is recorded for each. All that it binds was made by other sessions than the decoder's: what a session gives back to its
//! own memory, a recorded run goes on writing to.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use florence2_layout::graphs::{ENCODER_SEQUENCE_LENGTHS, INPUT_IDS, LOGITS, PAST_SEQUENCE_LENGTHS};
use ort::session::{IoBinding, RunOptions};
use ort::value::{DynValue, DynValueRef, TensorElementType};

use super::caches::DeviceCaches;
use super::decoder_step::DecoderStep;
use super::integers::Integers;
use super::rows::Room;
use crate::error::{Error, Result};
use crate::graph::side_graph::SideGraph;
use crate::graph::tensor;
use crate::runtime::{DeviceMemory, SessionOptions, small_graph};

/// Recordings that a decoder keeps; what has other sizes than all of them is not recorded. What is recorded cannot be given
/// up again.
const MAX_RECORDINGS: usize = 16;
/// Tokens that a row has room for at least; more than that are powers of two.
const MIN_CAPACITY: usize = 64;
/// What the room for encoder tokens is a multiple of.
const ENCODER_UNIT: usize = 64;
/// Runs of each recording that are compared with plain ones: the first, which is recorded, and one that repeats it.
const CHECKED_RUNS: u32 = 2;
/// By how much, in parts of the largest logit, a repeated run may differ from a plain one: kernels may add in another order.
const TOLERANCE: f32 = 1e-2;

const VALUE: &str = "value";
const SHAPE: &str = "shape";
const EXPANDED: &str = "expanded";
/// The whole numbers that a step is told, and how many axes they have.
const INTEGERS: [(&str, TensorElementType, usize); 3] = [
    (INPUT_IDS, TensorElementType::Int64, 2),
    (PAST_SEQUENCE_LENGTHS, TensorElementType::Int32, 1),
    (ENCODER_SEQUENCE_LENGTHS, TensorElementType::Int32, 1),
];

/// The recordings of a decoder.
pub(super) struct Recordings {
    /// Brings whole numbers into the device's memory.
    place: SideGraph,
    /// Makes room for logits there.
    expand: SideGraph,
    memory: DeviceMemory,
    slots: [OnceLock<Mutex<Recording>>; MAX_RECORDINGS],
}

/// The sizes of a recording's tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RecordingShape {
    room: Room,
    /// Tokens that each row has room for.
    pub(super) capacity: usize,
    /// Encoder tokens that each image has room for.
    pub(super) encoder_capacity: usize,
}

/// Tensors that keep their places, for one decoding at a time.
pub(super) struct Recording {
    shape: RecordingShape,
    /// [`INTEGERS`]
    integers: Vec<DynValue>,
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
    /// Say which recording it is.
    options: RunOptions,
    runs_to_check: u32,
}

impl RecordingShape {
    /// What rows with at least so much room are recorded in.
    pub(super) fn holding(room: Room, capacity: usize, encoder_capacity: usize) -> Self {
        Self {
            room,
            capacity: capacity.max(MIN_CAPACITY).next_power_of_two(),
            encoder_capacity: encoder_capacity.next_multiple_of(ENCODER_UNIT),
        }
    }
}

impl Recordings {
    /// For a decoder whose caches are in this memory.
    pub(super) fn new(memory: DeviceMemory, options: &SessionOptions) -> Result<Self> {
        let placing = || {
            let nodes = INTEGERS.map(|(name, ..)| small_graph::node("Identity", &[name], &placed(name)));
            let outlet = |name: &str, element, axes| match axes {
                1 => small_graph::outlet(name, element, [-1]),
                _ => small_graph::outlet(name, element, [-1; 2]),
            };
            let inputs = INTEGERS.map(|(name, element, axes)| outlet(name, element, axes));
            let outputs = INTEGERS.map(|(name, element, axes)| outlet(&placed(name), element, axes));
            small_graph::model(inputs, outputs, nodes)
        };
        let expanding = || {
            let float = TensorElementType::Float32;
            let inputs = [
                small_graph::outlet(VALUE, float, [1, 1]),
                small_graph::outlet(SHAPE, TensorElementType::Int64, [2]),
            ];
            let outputs = [small_graph::outlet(EXPANDED, float, [-1; 2])];
            let nodes = [small_graph::node("Expand", &[VALUE, SHAPE], EXPANDED)];
            small_graph::model(inputs, outputs, nodes)
        };
        Ok(Self {
            place: SideGraph::new("placing tokens", placing(), options)?,
            expand: SideGraph::new("making room for logits", expanding(), options)?,
            memory,
            slots: std::array::from_fn(|_| OnceLock::new()),
        })
    }

    /// What a step is told, in the device's memory.
    pub(super) fn placed(
        &self,
        integers: &[(&str, DynValueRef<'_>)],
        runtime: &mut f64,
    ) -> Result<Vec<DynValue>> {
        let inputs = named(integers);
        let outputs = INTEGERS.map(|(name, ..)| placed(name));
        self.place.run(&inputs, &outputs, self.memory, runtime)
    }

    /// Room for logits in the device's memory.
    pub(super) fn logits(&self, rows: usize, vocabulary: usize, runtime: &mut f64) -> Result<DynValue> {
        let value = tensor::floats(&[1, 1], vec![0.0], tensor::FloatType::F32)?;
        let shape = tensor::indices(&[rows, vocabulary])?;
        let inputs = [(VALUE, &value), (SHAPE, &shape)];
        let given = self.expand.run(&inputs, &[EXPANDED], self.memory, runtime)?;
        given.into_iter().next().ok_or_else(|| Error::InvalidGraph {
            graph: "making room for logits".into(),
            reason: "it gave none".into(),
        })
    }

    /// A recording of this shape that is nobody's now; `None` if there is no room for more.
    pub(super) fn claim<'m>(
        &'m self,
        model: &DecoderStep,
        caches: &DeviceCaches,
        shape: RecordingShape,
        runtime: &mut f64,
    ) -> Result<Option<MutexGuard<'m, Recording>>> {
        for (index, slot) in self.slots.iter().enumerate() {
            if slot.get().is_none() {
                let recording = self.record(index, model, caches, shape, runtime)?;
                // Another thread may have been faster; then the next slot is tried.
                if slot.set(Mutex::new(recording)).is_err() {
                    continue;
                }
            }
            let free = slot.get().and_then(|recording| recording.try_lock().ok());
            if let Some(recording) = free.filter(|recording| recording.shape == shape) {
                return Ok(Some(recording));
            }
        }
        tracing::debug!(?shape, "no room for another recording: steps run without");
        Ok(None)
    }

    fn record(
        &self,
        slot: usize,
        model: &DecoderStep,
        caches: &DeviceCaches,
        shape: RecordingShape,
        runtime: &mut f64,
    ) -> Result<Recording> {
        let rows = shape.room.rows();
        let integers = self.placed(&Integers::new(shape.room)?.tensors(), runtime)?;
        let cross_shape = model.cache_shape(shape.room.images, shape.encoder_capacity);
        let mut cross = caches.zeros(cross_shape, runtime)?;
        let mut logits = self.logits(rows, model.vocabulary(), runtime)?;
        let mut side = |number| {
            let own = caches.zeros(model.cache_shape(rows, shape.capacity), runtime)?;
            Side::new(number, model, own, &integers, &mut cross, &mut logits)
        };
        let sides = [side(2 * slot + 1)?, side(2 * slot + 2)?];
        tracing::debug!(?shape, "steps of this shape are recorded");
        Ok(Recording {
            shape,
            integers,
            cross,
            logits: Arc::new(logits),
            sides,
            current: 0,
        })
    }
}

/// What a whole number is called once it is in the device's memory.
fn placed(name: &str) -> String {
    format!("{name}.placed")
}

fn named<'v>(integers: &'v [(&str, DynValueRef<'_>)]) -> Vec<(String, &'v DynValue)> {
    let inputs = integers.iter();
    inputs.map(|(name, value)| (name.to_string(), &**value)).collect()
}

impl Side {
    fn new(
        number: usize,
        model: &DecoderStep,
        mut own: Vec<DynValue>,
        integers: &[DynValue],
        cross: &mut [DynValue],
        logits: &mut DynValue,
    ) -> Result<Self> {
        let graph = model.graph();
        let mut binding = graph.binding()?;
        let bind = || -> ort::Result<()> {
            for ((name, ..), value) in INTEGERS.into_iter().zip(integers) {
                binding.bind_input(name, value)?;
            }
            for (names, tensor) in model.own().iter().zip(&mut own) {
                binding.bind_input(&names.past, tensor)?;
                binding.bind_output(&names.present, tensor)?;
            }
            for (names, tensor) in model.cross().iter().zip(cross.iter()) {
                binding.bind_input(&names.past, tensor)?;
            }
            binding.bind_output(LOGITS, logits)
        };
        bind().map_err(Error::ort(format!("binding tensors to {}", graph.name())))?;
        Ok(Self {
            own,
            binding,
            options: graph.recorded_run_options(number)?,
            runs_to_check: CHECKED_RUNS,
        })
    }
}

impl Recording {
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

    pub(super) fn shape(&self) -> RecordingShape {
        self.shape
    }

    /// Row `i` becomes a copy of row `sources[i]`.
    pub(super) fn reorder(
        &mut self,
        caches: &DeviceCaches,
        sources: &[usize],
        runtime: &mut f64,
    ) -> Result<()> {
        let [first, second] = &mut self.sides;
        let (from, to) = match self.current {
            0 => (first, second),
            _ => (second, first),
        };
        caches.gathered_into(&from.own, sources, &mut to.own, runtime)?;
        self.current = 1 - self.current;
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
        let inputs = named(integers);
        let outputs = INTEGERS.iter().zip(&mut self.integers);
        let outputs = outputs.map(|((name, ..), value)| (placed(name), value));
        recordings.place.run_into(&inputs, outputs, runtime)?;
        let graph = model.graph();
        let Some(side) = self.sides.get_mut(self.current) else {
            return Err(graph.invalid("its recording has no such side"));
        };
        let Some((chooser, _)) = model.chooser().filter(|_| side.runs_to_check > 0) else {
            graph.run_bound_with(&side.binding, &side.options, runtime)?;
            return Ok(self.logits.clone());
        };
        // A step that is repeated writes to the caches what is there already.
        side.runs_to_check -= 1;
        graph.run_bound(&side.binding, runtime)?;
        let plain = chooser.all(&self.logits, runtime)?;
        graph.run_bound_with(&side.binding, &side.options, runtime)?;
        let recorded = chooser.all(&self.logits, runtime)?;
        let largest = plain
            .iter()
            .fold(0.0_f32, |largest, logit| largest.max(logit.abs()));
        let differs =
            |(&a, &b): (&f32, &f32)| (a - b).abs() > TOLERANCE * largest || a.is_nan() != b.is_nan();
        if plain.iter().zip(&recorded).any(differs) {
            return Err(graph.invalid(
                "a recorded step (CUDA graphs) gives other logits than a plain one: leave CUDA graphs out, and report it",
            ));
        }
        Ok(self.logits.clone())
    }
}
