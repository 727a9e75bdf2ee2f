//! How the layers of a graph become operators.

use std::collections::BTreeMap;
use std::rc::Rc;

use florence2_layout::dtypes::Dtype;
use florence2_layout::graphs::is_cache;
use florence2_layout::onnx::DataType;

use crate::target::Operators;
use crate::weight_dtypes::WeightDtypes;

/// The projector's module that computes the mean over all image tokens.
pub(crate) const SPATIAL_AVERAGE: &str = "spatial_average";

/// Factors by name, one for each index along the last axis of a tensor.
pub(crate) type Factors = Rc<BTreeMap<String, Rc<[f32]>>>;

/// How the layers of a graph become operators; by default ONNX's own in 32-bit floats.
#[derive(Clone, Default)]
pub(crate) struct Lowering<'a> {
    pub(crate) operators: Operators,
    pub(crate) dtypes: WeightDtypes<'a>,
    /// Whether inputs and outputs are 16-bit floats where arithmetic is.
    pub(crate) float16_io: bool,
    /// Whether the linear layers take few rows at a time: the new tokens of a step, not whole sequences.
    pub(crate) few_rows: bool,
    /// Factors on the inputs of linear layers, by paths of layers.
    pub(crate) input_factors: Factors,
}

impl Lowering<'_> {
    /// The type of floats in the nodes of `module`, empty for nodes of no module.
    pub(crate) fn float_type(&self, module: &str) -> DataType {
        // The sum over all image tokens, 576 of them, can overflow 16 bits.
        let is_kept = || module.ends_with(SPATIAL_AVERAGE) || self.dtypes.of(module) == Dtype::Fp32;
        if self.dtypes.dtype().is_float16() && (module.is_empty() || !is_kept()) {
            DataType::Float16
        } else {
            DataType::Float
        }
    }

    /// The type of floats in the input or output `name`.
    pub(crate) fn io_type(&self, name: &str) -> DataType {
        // KV caches on a device are only read by other graphs.
        let stays_inside = self.operators == Operators::Contrib && is_cache(name);
        if self.dtypes.dtype().is_float16() && (self.float16_io || stays_inside) {
            DataType::Float16
        } else {
            DataType::Float
        }
    }
}
