//! What is asked of a graph's inputs and outputs before anything runs.

use florence2_layout::files::CONFIG;
use florence2_layout::graphs::PRECISION;
use ndarray::Array3;
use serde_json::Value;

use super::session::Graph;
use super::tensor::{self, FloatType};
use crate::bundle::Bundle;
use crate::error::{Error, Result};
use crate::runtime::{
    DeviceKind, ElementType, GraphSignature, Placement, TensorSpec, byte_products_saturate,
};

impl Graph {
    /// The float type in which an input is wanted.
    pub(crate) fn float_input(&self, name: &str) -> Result<FloatType> {
        self.float("input", self.input(name)?)
    }

    /// The float type in which an output comes.
    pub(crate) fn float_output(&self, name: &str) -> Result<FloatType> {
        self.float("output", self.output(name)?)
    }

    fn float(&self, kind: &str, spec: &TensorSpec) -> Result<FloatType> {
        FloatType::of(spec.dtype).ok_or_else(|| self.unsupported(kind, spec, "float32 or float16"))
    }

    /// That an input takes what the engine gives for it.
    pub(crate) fn check_input(&self, name: &str, dtype: ElementType) -> Result<()> {
        let spec = self.input(name)?;
        match spec.dtype == dtype {
            true => Ok(()),
            false => Err(self.unsupported("input", spec, &dtype.to_string())),
        }
    }

    fn unsupported(&self, kind: &str, spec: &TensorSpec, wanted: &str) -> Error {
        self.invalid(format!(
            "{kind} {spec} is not {wanted}; take its file of another dtype, or export the model again"
        ))
    }

    /// Checks that an output is finite.
    pub(crate) fn check_finite(&self, values: &Array3<f32>, output: &str) -> Result<()> {
        match values.as_slice() {
            Some(values) => tensor::check_finite(values, self.name(), output),
            // Outputs are contiguous.
            None => Ok(()),
        }
    }

    /// That an axis of an input or output has a size (`None`: not known), if the graph fixes it. `whose` names what
    /// the size is of.
    pub(crate) fn check_size(
        &self,
        spec: &TensorSpec,
        axis: usize,
        size: Option<usize>,
        whose: &str,
    ) -> Result<()> {
        match (spec.fixed(axis), size) {
            (Some(found), Some(size)) if found != size => Err(self.invalid(format!(
                "{spec} has size {found} where {whose} is {size}: the two are of different models. Fetch or export the \
                 model again"
            ))),
            _ => Ok(()),
        }
    }
}

/// The sizes of the text side that `config.json` gives; those of what it lacks are not known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TextSizes {
    /// Of hidden states and embeddings.
    pub(crate) d_model: Option<usize>,
    pub(crate) decoder_layers: Option<usize>,
    /// The decoder's heads.
    pub(crate) heads: Option<usize>,
    /// The most tokens that encoder and decoder have positions for.
    pub(crate) max_positions: Option<usize>,
}

impl TextSizes {
    /// What to call `d_model` in messages.
    pub(crate) const D_MODEL: &str = "d_model of config.json";

    pub(crate) fn of(bundle: &Bundle) -> Self {
        let text_config = bundle
            .config
            .as_ref()
            .and_then(|config| config.get("text_config"));
        let size = |name: &str| {
            let size = text_config?.get(name).and_then(Value::as_u64)?;
            usize::try_from(size).ok().filter(|&size| size > 0)
        };
        Self {
            d_model: size("d_model"),
            decoder_layers: size("decoder_layers"),
            heads: size("decoder_attention_heads"),
            max_positions: size("max_position_embeddings"),
        }
    }

    /// Of one of the decoder's heads.
    pub(crate) fn head_size(&self) -> Option<usize> {
        Some(self.d_model? / self.heads?)
    }

    /// That a decoder has as many layers.
    pub(crate) fn check_layers(&self, graph: &Graph, layers: usize) -> Result<()> {
        match self.decoder_layers {
            Some(wanted) if wanted != layers => Err(graph.invalid(format!(
                "it has caches of {layers} layers, but {CONFIG} says {wanted}: the two are of different models. Fetch or \
                 export the model again"
            ))),
            _ => Ok(()),
        }
    }
}

/// The precisions in which bytes are multiplied by signed ones.
const SIGNED_BYTES: [&str; 3] = ["int8", "quantized", "int4"];

/// Says so where a graph of bytes may give wrong sums on this processor.
pub(super) fn warn_of_saturation(signature: &GraphSignature, placement: &Placement) {
    let precision = signature.metadata.get(PRECISION).map_or("fp32", String::as_str);
    let on_cpu = placement.nodes_on(DeviceKind::Cpu) > 0;
    if SIGNED_BYTES.contains(&precision) && on_cpu && byte_products_saturate() {
        tracing::warn!(
            graph = signature.graph,
            precision,
            "this processor has no VNNI: ONNX Runtime's sums of products of bytes can saturate; use fp32 graphs"
        );
    }
}
