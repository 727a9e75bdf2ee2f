//! Steps whose tensors keep their sizes and places in the device's memory, so that what the device does in one of them can
//! be recorded and done again in the next, without being told anew (CUDA graphs).
//!
//! A recording has two sets of self-attention caches, as rows that move go over from one to the other, and what is recorded
//! is recorded for each. All that it binds was made by other sessions than the decoder's: what a session gives back to its
//! own memory, a recorded run goes on writing to.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, TryLockError};

use florence2_layout::graphs::{ENCODER_SEQUENCE_LENGTHS, INPUT_IDS, PAST_SEQUENCE_LENGTHS};
use ort::session::IoBinding;
use ort::value::{DynValue, DynValueRef, TensorElementType};

use super::caches::DeviceCaches;
use super::decoder_step::DecoderStep;
use super::recording::Recording;
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
const VALUE: &str = "value";
const SHAPE: &str = "shape";
const EXPANDED: &str = "expanded";
/// The whole numbers that a step is told, and how many axes they have.
pub(super) const INTEGERS: [(&str, TensorElementType, usize); 3] = [
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
    slots: [OnceLock<(RecordingShape, Mutex<Recording>)>; MAX_RECORDINGS],
    /// Whether it was said that there is no room for more.
    is_full: AtomicBool,
}

/// The sizes of a recording's tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RecordingShape {
    pub(super) room: Room,
    /// Tokens that each row has room for.
    pub(super) capacity: usize,
    /// Encoder tokens that each image has room for.
    pub(super) encoder_capacity: usize,
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
            is_full: AtomicBool::new(false),
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

    /// What brings whole numbers into these tensors, run after run.
    pub(super) fn placing(&self, placed_integers: &mut [DynValue]) -> Result<IoBinding> {
        let outputs = INTEGERS.iter().zip(placed_integers);
        let outputs = outputs.map(|((name, ..), value)| (placed(name), value));
        self.place.bound(&[], outputs)
    }

    /// Brings them there.
    pub(super) fn place(
        &self,
        placing: &mut IoBinding,
        integers: &[(&str, DynValueRef<'_>)],
        runtime: &mut f64,
    ) -> Result<()> {
        self.place.run_again(placing, &named(integers), runtime)
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
                let recording = Recording::new(2 * index + 1, self, model, caches, shape, runtime)?;
                // Another thread may have been faster; then the next slot is tried.
                if slot.set((shape, Mutex::new(recording))).is_err() {
                    continue;
                }
                tracing::debug!(?shape, "steps of this shape are recorded");
            }
            match slot
                .get()
                .filter(|(known, _)| *known == shape)
                .map(|(_, recording)| recording.try_lock())
            {
                Some(Ok(recording)) => return Ok(Some(recording)),
                // Whatever state it was left in, a decoding brings its own.
                Some(Err(TryLockError::Poisoned(recording))) => return Ok(Some(recording.into_inner())),
                Some(Err(TryLockError::WouldBlock)) | None => {}
            }
        }
        if !self.is_full.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "steps came in more than {MAX_RECORDINGS} sizes at a time: others run without CUDA graphs"
            );
        }
        Ok(None)
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
