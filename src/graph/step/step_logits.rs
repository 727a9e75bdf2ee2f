//! Where a step puts its logits.

use florence2_layout::graphs::LOGITS;
use ndarray::ArrayView2;
use ort::memory::MemoryInfo;
use ort::session::IoBinding;
use ort::value::Tensor;

use super::caches::zeros;
use super::decoder_step::DecoderStep;
use super::rows::Room;
use crate::error::{Error, Result};
use crate::generation::Logits;
use crate::graph::chooser::{Chooser, ChosenLogits};

/// Where a step puts its logits, `[rows, vocabulary]`.
pub(super) enum StepLogits<'m> {
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
    pub(super) fn bound(
        model: &'m DecoderStep,
        room: Room,
        best_are_enough: bool,
        binding: &mut IoBinding,
    ) -> Result<Self> {
        let context = Error::ort(format!("binding {LOGITS} to {}", model.graph().name()));
        let Some((chooser, memory)) = model.chooser().filter(|_| best_are_enough) else {
            let mut logits = zeros(&[room.rows(), model.vocabulary()])?;
            binding.bind_output(LOGITS, &mut logits).map_err(context)?;
            return Ok(Self::Here(logits));
        };
        let memory: MemoryInfo<'_> = memory.info()?;
        binding.bind_output_to_device(LOGITS, &memory).map_err(context)?;
        Ok(Self::OnDevice {
            chooser,
            chosen: None,
        })
    }

    /// Whether the best are chosen where all of them are.
    pub(super) fn are_on_device(&self) -> bool {
        matches!(self, Self::OnDevice { .. })
    }

    /// Runs the decoder's step on these tensors. Adds the time within the runtime to `runtime`.
    pub(super) fn run(&mut self, model: &DecoderStep, binding: &IoBinding, runtime: &mut f64) -> Result<()> {
        let graph = model.graph();
        match self {
            Self::Here(_) => graph.run_bound(binding, runtime),
            Self::OnDevice { chooser, chosen } => {
                let logits = graph.run_bound_for(binding, LOGITS, runtime)?;
                *chosen = Some(Box::new(chooser.choose(logits, runtime)?));
                Ok(())
            }
        }
    }

    /// The logits of all rows after the last run.
    pub(super) fn read(&self, model: &DecoderStep, room: Room) -> Result<Logits<'_>> {
        let graph = model.graph();
        match self {
            StepLogits::Here(logits) => {
                let shape = (room.rows(), model.vocabulary());
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
}
