//! Checks of a graph's inputs and outputs, when it is loaded and after a run.

use florence2_layout::files::CONFIG;
use florence2_layout::graphs::{MIXED_Q4, PRECISION};
use serde_json::Value;

use super::graph::Graph;
use super::tensor::FloatType;
use crate::bundle::Bundle;
use crate::error::{Error, Result};
use crate::runtime::{
    DeviceKind, ElementType, GraphSignature, Placement, TensorSpec, byte_products_saturate,
};

impl Graph {
    /// Returns the float type of an input.
    pub(crate) fn float_input(&self, name: &str) -> Result<FloatType> {
        self.float("input", self.input(name)?)
    }

    /// Returns the float type of an output.
    pub(crate) fn float_output(&self, name: &str) -> Result<FloatType> {
        self.float("output", self.output(name)?)
    }

    fn float(&self, kind: &str, spec: &TensorSpec) -> Result<FloatType> {
        FloatType::of(spec.dtype).ok_or_else(|| self.unsupported(kind, spec, "float32 or float16"))
    }

    /// Checks that an input, if the graph has it, is of integers: int64, or another type that they are converted to. Returns
    /// whether it has it.
    ///
    /// # Errors
    /// [`Error::InvalidGraph`] if it lacks the input and has inputs that are not fed, for which `is_fed` returns `false`: one
    /// of them may be it.
    pub(crate) fn takes_integers(&self, name: &str, is_fed: impl Fn(&str) -> bool) -> Result<bool> {
        if !self.has_input(name) {
            if !self.inputs().iter().all(|spec| is_fed(&spec.name)) {
                self.input(name)?;
            }
            return Ok(false);
        }
        let spec = self.input(name)?;
        match spec.dtype {
            ElementType::Int64 | ElementType::Int32 | ElementType::Bool => Ok(true),
            _ => Err(self.unsupported("input", spec, "int64 or int32")),
        }
    }

    /// Checks an input's element type.
    pub(crate) fn check_input(&self, name: &str, dtype: ElementType) -> Result<()> {
        let spec = self.input(name)?;
        if spec.dtype != dtype {
            return Err(self.unsupported("input", spec, &dtype.to_string()));
        }
        Ok(())
    }

    fn unsupported(&self, kind: &str, spec: &TensorSpec, wanted: &str) -> Error {
        self.invalid(format!(
            "{kind} {spec} is not {wanted}; use its file of another dtype, or export the model again"
        ))
    }

    /// Checks that an axis of an input or output has a size, if the graph fixes it (`None`: not known). `whose` describes the
    /// size in the error.
    pub(crate) fn check_size(
        &self,
        spec: &TensorSpec,
        axis: usize,
        size: Option<usize>,
        whose: &str,
    ) -> Result<()> {
        match (spec.fixed(axis), size) {
            (Some(found), Some(size)) if found != size => Err(self.invalid(format!(
                "{spec} has size {found} where {whose} is {size}: they are of different models. Fetch or export the \
                 model again"
            ))),
            _ => Ok(()),
        }
    }
}

/// Sizes of the language model in `config.json`; `None` where a setting is missing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TextSizes {
    pub(crate) d_model: Option<usize>,
    pub(crate) decoder_layers: Option<usize>,
    /// Heads of the decoder.
    pub(crate) heads: Option<usize>,
    /// Positions of encoder and decoder.
    pub(crate) max_positions: Option<usize>,
}

impl TextSizes {
    /// The name of `d_model` in messages.
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

    /// Returns the size of a decoder's head.
    pub(crate) fn head_size(&self) -> Option<usize> {
        Some(self.d_model? / self.heads?)
    }

    /// Checks that a decoder has `layers` layers.
    pub(crate) fn check_layers(&self, graph: &Graph, layers: usize) -> Result<()> {
        match self.decoder_layers {
            Some(wanted) if wanted != layers => Err(graph.invalid(format!(
                "it has caches of {layers} layers, but {CONFIG} says {wanted}: they are of different models. Fetch or \
                 export the model again"
            ))),
            _ => Ok(()),
        }
    }
}

/// The dtypes whose graphs multiply unsigned by signed bytes.
const SIGNED_BYTES: [&str; 3] = ["int8", "quantized", MIXED_Q4];

/// Warns if sums of an 8-bit graph can saturate on this CPU.
pub(super) fn warn_of_saturation(signature: &GraphSignature, placement: &Placement) {
    let precision = signature.metadata.get(PRECISION).map_or("fp32", String::as_str);
    let on_cpu = placement.nodes_on(DeviceKind::Cpu) > 0;
    if SIGNED_BYTES.contains(&precision) && on_cpu && byte_products_saturate() {
        tracing::warn!(
            graph = signature.graph,
            precision,
            "this CPU has no VNNI: ONNX Runtime's sums of products of bytes can saturate; use fp32 graphs"
        );
    }
}
