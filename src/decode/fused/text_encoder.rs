//! Image features and prompt ids to the cross-attention caches.

use florence2_layout::graphs::{GraphFile, IMAGE_FEATURES, INPUT_IDS, LAST_HIDDEN_STATE, is_cache};
use ndarray::{Array2, Axis};
use ort::value::DynValue;

use super::FusedModel;
use super::decoder::FusedDecoder;
use crate::bundle::Bundle;
use crate::decode::TextInput;
use crate::decode::kv_cache::KvCache;
use crate::error::Result;
use crate::metrics::Stopwatch;
use crate::runtime::SessionOptions;
use crate::session::{Graph, Inputs, Outputs, tensor};

/// Loads BART's encoder, whose outputs must be the cross-attention caches of `decoder`.
pub(super) fn load_encoder(
    bundle: &Bundle,
    options: &SessionOptions,
    decoder: &FusedDecoder,
) -> Result<Graph> {
    let graph = Graph::load(bundle, GraphFile::TextEncoder, options)?;
    graph.input(INPUT_IDS)?;
    graph.float_input(IMAGE_FEATURES)?;
    for names in &decoder.caches().cross_attention {
        decoder.check_cache(&graph, graph.output(&names.present)?)?;
    }
    Ok(graph)
}

impl FusedModel {
    /// Returns the cross-attention caches of an input: `[1, heads, image tokens + prompt tokens, head size]`.
    ///
    /// Inputs are encoded one by one: a batch would need padding or quantize the activations of several inputs with
    /// one scale, and both change the answers. It would not be faster: one input's 589 tokens keep a CPU busy.
    pub(super) fn encode(&self, input: TextInput<'_>, clock: &Stopwatch) -> Result<KvCache<'_>> {
        let graph = &self.encoder;
        let format = self.decoder.format();
        let memory = format.device.as_ref().map(|device| device.memory());
        let is_at_home = memory == graph.memory();
        let mut outputs = match memory {
            Some(memory) if is_at_home => {
                let inputs = self.inputs(input, true)?;
                graph.run_on_device(inputs, memory, is_cache, clock)?
            }
            _ => self.outputs(input, clock)?,
        };
        if graph.has_output(LAST_HIDDEN_STATE) {
            let states = outputs.take(LAST_HIDDEN_STATE)?;
            tensor::check_finite_value(&states, graph.name(), LAST_HIDDEN_STATE)?;
        }
        let shape = format.shape(1, input.features.nrows() + input.prompt.len());
        let tensors = self.decoder.caches().cross_attention.iter().map(|names| {
            let value = outputs.take(&names.present)?;
            let (found, wanted) = (tensor::shape(&value), shape.dims());
            if found == wanted {
                Ok(value)
            } else {
                let reason = format!("{} has shape {found:?}, not {wanted:?}", names.present);
                Err(graph.invalid(reason))
            }
        });
        let tensors: Vec<DynValue> = tensors.collect::<Result<_>>()?;
        let tensors = match &format.device {
            Some(device) if !is_at_home => device.upload(&tensors, clock)?,
            _ => tensors,
        };
        Ok(KvCache::of(format, tensors, shape, clock))
    }

    /// Returns the last hidden states, `[image tokens + prompt tokens, d_model]`.
    pub(super) fn last_hidden_states(&self, input: TextInput<'_>) -> Result<Array2<f32>> {
        let mut outputs = self.outputs(input, &Stopwatch::default())?;
        let states = outputs.take_finite(LAST_HIDDEN_STATE)?;
        match states.dim() {
            (1, _, _) => Ok(states.index_axis_move(Axis(0), 0)),
            found => Err(self
                .encoder
                .invalid(format!("{LAST_HIDDEN_STATE} has shape {found:?} for one input"))),
        }
    }

    fn outputs(&self, input: TextInput<'_>, clock: &Stopwatch) -> Result<Outputs<'_>> {
        self.encoder.run(self.inputs(input, false)?, clock)
    }

    /// Returns the inputs of a run. With `owned`, they own their values, which a binding requires.
    fn inputs<'a>(&self, input: TextInput<'a>, owned: bool) -> Result<Inputs<'a>> {
        let ids = input.prompt.iter().map(|&id| i64::from(id)).collect();
        let ids = tensor::integers(&[1, input.prompt.len()], ids)?;
        let features = input.features.insert_axis(Axis(0));
        let float = self.encoder.float_input(IMAGE_FEATURES)?;
        let features = if owned {
            tensor::float_array(features, float)?.into()
        } else {
            tensor::float_input(features, float)?
        };
        Ok(vec![(INPUT_IDS, ids.into()), (IMAGE_FEATURES, features)])
    }
}
