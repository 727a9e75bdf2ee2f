//! Linear layers, multiplied as the target and the dtype of each weight require.

use florence2_layout::dtypes::Dtype;

use crate::checkpoint::Weights;
use crate::error::Result;
use crate::graph::{Graph, Value};
use crate::quantize::{self, BlockFormat, BlockWeight, DynamicQuantized};
use crate::target::Operators;
use crate::tensor::Tensor;

/// A linear layer, `x · W + b`.
pub(crate) struct Linear<'a> {
    /// Path of the module.
    pub(crate) module: String,
    /// `[in, out]`.
    pub(crate) weight: Tensor<'a>,
    pub(crate) bias: Option<Tensor<'a>>,
}

impl<'a> Linear<'a> {
    /// Reads `weight` (`[out, in]` in the checkpoint) and, if `bias`, the bias.
    pub(crate) fn load(weights: &Weights<'a>, inputs: usize, outputs: usize, bias: bool) -> Result<Self> {
        let [linear] = Self::load_stacked(weights, inputs, outputs, bias, [""])?;
        Ok(linear)
    }

    /// Reads several projections of the same size that the checkpoint stacks in one matrix.
    pub(crate) fn load_stacked<const PARTS: usize>(
        weights: &Weights<'a>,
        inputs: usize,
        outputs: usize,
        bias: bool,
        parts: [&str; PARTS],
    ) -> Result<[Self; PARTS]> {
        let weight = weights.tensor("weight", &[PARTS * outputs, inputs])?;
        let bias = if bias {
            Some(weights.tensor("bias", &[PARTS * outputs])?)
        } else {
            None
        };
        let part = |tensor: &Tensor<'a>, index: usize| {
            let range = index * outputs..(index + 1) * outputs;
            if PARTS == 1 {
                tensor.clone()
            } else {
                tensor.clone().rows(parts[index], range)
            }
        };
        Ok(std::array::from_fn(|index| Linear {
            module: weights.module(parts[index]),
            weight: part(&weight, index).transposed(),
            bias: bias.as_ref().map(|bias| part(bias, index)),
        }))
    }

    /// Reads several layers of the same input and sizes as one layer `name`; its output is their outputs,
    /// concatenated.
    pub(crate) fn load_side_by_side(
        weights: &Weights<'a>,
        name: &str,
        parts: &[&str],
        inputs: usize,
        outputs: usize,
    ) -> Result<Self> {
        let load = |tensor: &str, shape: &[usize]| -> Result<Tensor<'a>> {
            let parts = parts.iter().map(|part| weights.at(part).tensor(tensor, shape));
            let name = weights.at(name).path(tensor);
            Ok(Tensor::stacked(name, parts.collect::<Result<_>>()?))
        };
        Ok(Linear {
            module: weights.path(name),
            weight: load("weight", &[outputs, inputs])?.transposed(),
            bias: Some(load("bias", &[outputs])?),
        })
    }

    /// The layer with its output multiplied by `factor`.
    pub(crate) fn scaled(self, factor: f32) -> Self {
        Linear {
            module: self.module,
            weight: self.weight.scaled(factor),
            bias: self.bias.map(|bias| bias.scaled(factor)),
        }
    }

    /// Number of features in the output.
    pub(crate) fn outputs(&self) -> usize {
        self.weight.shape().last().copied().unwrap_or_default()
    }

    /// The layer's output for `x`.
    pub(crate) fn apply(&self, graph: &mut Graph<'a>, x: &Value) -> Value {
        LinearInput::new(graph, std::slice::from_ref(self), x).apply(graph, self)
    }

    /// The layer's output for `x`, multiplied in floats whatever the weight's dtype.
    pub(crate) fn apply_in_floats(&self, graph: &mut Graph<'a>, x: &Value) -> Value {
        self.apply_in(graph, Dtype::Fp32, x)
    }

    fn apply_in(&self, graph: &mut Graph<'a>, dtype: Dtype, x: &Value) -> Value {
        graph.within(&self.module, |graph| {
            let product = quantize::matmul(graph, dtype, x, &self.weight);
            match &self.bias {
                Some(bias) => {
                    let bias = graph.weight(bias);
                    graph.add(&product, &bias)
                }
                None => product,
            }
        })
    }

    /// Whether the layer multiplies in 32-bit floats.
    pub(crate) fn is_fp32(&self, graph: &Graph<'_>) -> bool {
        graph.lowering.dtypes.of(&self.module) == Dtype::Fp32
    }
}

/// The input of one or more linear layers, quantized once if several of them multiply in integers.
pub(crate) struct LinearInput {
    x: Value,
    quantized: Option<DynamicQuantized>,
}

impl LinearInput {
    /// The input `x` of `layers`.
    pub(crate) fn new<'a>(graph: &mut Graph<'a>, layers: &[Linear<'a>], x: &Value) -> Self {
        let x = smoothed(graph, layers, x);
        let mut quantized = layers.iter().filter(|layer| !layer.is_fp32(graph));
        let quantized = match (quantized.next(), quantized.next()) {
            (Some(first), Some(_))
                if graph.lowering.operators == Operators::Custom && !graph.lowering.few_rows =>
            {
                Some(graph.within(&first.module, |graph| DynamicQuantized::new(graph, &x)))
            }
            _ => None,
        };
        LinearInput { x, quantized }
    }

    /// The output of `layer`.
    pub(crate) fn apply<'a>(&self, graph: &mut Graph<'a>, layer: &Linear<'a>) -> Value {
        let dtype = graph.lowering.dtypes.of(&layer.module);
        if graph.lowering.operators != Operators::Custom || dtype == Dtype::Fp32 {
            return layer.apply_in(graph, dtype, &self.x);
        }
        graph.within(&layer.module, |graph| {
            let bias = layer.bias.as_ref().map(|bias| graph.weight(bias));
            if !graph.lowering.few_rows {
                let quantized = self.quantized.as_ref();
                return quantize::fused_integer_matmul(
                    graph,
                    &self.x,
                    quantized,
                    &layer.weight,
                    bias.as_ref(),
                );
            }
            let format = match dtype {
                Dtype::Q4 => BlockFormat::Int4,
                _ => BlockFormat::Int8,
            };
            let weight = BlockWeight::new(&layer.weight.clone().transposed(), format);
            weight.integer_matmul(graph, &self.x, bias.as_ref())
        })
    }
}

/// The input `x` of `layers`, multiplied by their [SmoothQuant](crate::smoothing) factors.
fn smoothed<'a>(graph: &mut Graph<'a>, layers: &[Linear<'a>], x: &Value) -> Value {
    let first = layers
        .first()
        .map(|layer| layer.module.as_str())
        .unwrap_or_default();
    let Some(factors) = graph.lowering.input_factors.get(first).cloned() else {
        return x.clone();
    };
    let factors = Tensor::new(format!("{first}.smoothing"), [factors.len()], move || {
        factors.to_vec()
    });
    let factors = graph.weight(&factors);
    graph.mul(x, &factors)
}
