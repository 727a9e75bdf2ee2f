//! Image features and prompt ids to what the decoder attends to.

use florence2_layout::graphs::{GraphFile, IMAGE_FEATURES, INPUT_IDS, LAST_HIDDEN_STATE, is_cache};
use ndarray::{Array2, Array3, Axis};
use ort::session::SessionInputValue;
use ort::value::DynValue;

use super::caches::{CacheShape, Caches, DeviceCaches};
use super::decoder_step::DecoderStep;
use crate::bundle::Bundle;
use crate::error::Result;
use crate::graph::language_model::TextInput;
use crate::graph::session::{Graph, Outputs};
use crate::graph::tensor;
use crate::runtime::SessionOptions;

/// BART's encoder, with the decoder's projections of its result.
pub(super) struct TextEncoder {
    graph: Graph,
}

impl TextEncoder {
    /// Loads the graph; it must give the caches that `decoder` takes.
    pub(super) fn load(bundle: &Bundle, options: &SessionOptions, decoder: &DecoderStep) -> Result<Self> {
        let graph = Graph::load(bundle, GraphFile::TextEncoder, options)?;
        graph.input(INPUT_IDS)?;
        graph.float_input(IMAGE_FEATURES)?;
        for names in decoder.cross() {
            let spec = graph.output(&names.present)?;
            decoder.check_cache(&graph, spec)?;
        }
        Ok(Self { graph })
    }

    pub(super) fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The cross-attention caches for an input: `[1, heads, image tokens + prompt tokens, head size]`. Adds the time
    /// within the runtime to `runtime`.
    ///
    /// Inputs are encoded one by one: a batch would have to be padded, or have activations of several inputs quantised
    /// by one scale, and either changes the answers. Nothing would be gained: one input's 589 tokens keep a processor
    /// busy.
    pub(super) fn run<'m>(
        &self,
        input: TextInput<'_>,
        decoder: &'m DecoderStep,
        runtime: &mut f64,
    ) -> Result<Caches<'m>> {
        let device = decoder.device_caches();
        let memory = device.map(DeviceCaches::memory);
        let is_at_home = memory == self.graph.memory();
        let mut outputs = match memory {
            Some(memory) if is_at_home => {
                let inputs = self.inputs(input, true)?;
                self.graph.run_keeping(inputs, memory, is_cache, runtime)?
            }
            _ => self.outputs(input, runtime)?,
        };
        if self.graph.has_output(LAST_HIDDEN_STATE) {
            // Beside a device's caches, this comes to the CPU's memory.
            let states = outputs.take(LAST_HIDDEN_STATE)?;
            tensor::check_finite_value(&states, self.graph.name(), LAST_HIDDEN_STATE)?;
        }
        let shape = decoder.cache_shape(1, input.features.nrows() + input.prompt.len());
        let tensors = decoder.cross().iter().map(|names| {
            let value = outputs.take(&names.present)?;
            self.check_cache(&value, &names.present, shape)?;
            Ok(value)
        });
        let tensors: Vec<DynValue> = tensors.collect::<Result<_>>()?;
        let tensors = match device {
            Some(device) if !is_at_home => device.adopted(&tensors, runtime)?,
            _ => tensors,
        };
        Ok(Caches::given(device, tensors, shape))
    }

    /// The last hidden states, `[image tokens + prompt tokens, d_model]`.
    pub(super) fn hidden_states(&self, input: TextInput<'_>) -> Result<Array2<f32>> {
        let mut outputs = self.outputs(input, &mut 0.0)?;
        let states = outputs.take(LAST_HIDDEN_STATE)?;
        let states: Array3<f32> = tensor::to_f32(&states, self.graph.name(), LAST_HIDDEN_STATE)?;
        match states.dim() {
            (1, _, _) => Ok(states.index_axis_move(Axis(0), 0)),
            found => Err(self
                .graph
                .invalid(format!("{LAST_HIDDEN_STATE} has shape {found:?} for one input"))),
        }
    }

    fn outputs(&self, input: TextInput<'_>, runtime: &mut f64) -> Result<Outputs<'_>> {
        self.graph.run(self.inputs(input, false)?, runtime)
    }

    /// What a run takes; `owned` for a binding, which wants values that it can keep.
    fn inputs<'a>(
        &self,
        input: TextInput<'a>,
        owned: bool,
    ) -> Result<Vec<(&'static str, SessionInputValue<'a>)>> {
        let ids = input.prompt.iter().map(|&id| i64::from(id)).collect();
        let ids = tensor::integers(&[1, input.prompt.len()], ids)?;
        let features = input.features.insert_axis(Axis(0));
        let float = self.graph.float_input(IMAGE_FEATURES)?;
        let features = match owned {
            true => tensor::float_array(features, float)?.into(),
            false => tensor::float_input(features, float)?,
        };
        Ok(vec![(INPUT_IDS, ids.into()), (IMAGE_FEATURES, features)])
    }

    fn check_cache(&self, value: &DynValue, name: &str, shape: CacheShape) -> Result<()> {
        let (found, wanted) = (tensor::shape(value), shape.dims());
        match found == wanted {
            true => Ok(()),
            false => Err(self
                .graph
                .invalid(format!("{name} has shape {found:?}, not {wanted:?}"))),
        }
    }
}
