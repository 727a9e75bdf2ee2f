//! The convolution that begins a stage, in floats or integers, and its norm.

use florence2_layout::dtypes::Dtype;

use super::stage::{Stage, channels_first, channels_last};
use crate::checkpoint::Weights;
use crate::error::Result;
use crate::graph::{Graph, Value};
use crate::layers::layer_norm;
use crate::quantize::{DynamicQuantized, fused_integer_matmul};
use crate::target::Operators;
use crate::tensor::Tensor;

impl Stage {
    /// Embeds the stage's input into tokens: pixels, `[batch, channels, height, width]`, in the first stage, tokens
    /// in the others. `tower` has `convs.{stage}`.
    pub(super) fn patch_embedding<'a>(
        &self,
        graph: &mut Graph<'a>,
        tower: &Weights<'a>,
        x: &Value,
    ) -> Result<Value> {
        let weights = tower.at(format_args!("convs.{}", self.index));
        let (conv, norm) = (weights.at("conv"), weights.at("norm"));
        let kernel = self.patch.geometry.kernel;
        let weight = conv.tensor("weight", &[self.dim, self.input_dim, kernel, kernel])?;
        let bias = conv.tensor("bias", &[self.dim])?;
        graph.within(&weights.module(""), |graph| {
            let mut x = x.clone();
            if self.patch.prenorm {
                if self.index == 0 {
                    x = channels_last(graph, &x, self.input_grid, self.input_dim);
                }
                x = layer_norm(graph, &norm, self.input_dim, &x)?;
            }
            x = if self.convolves_in_integers(graph, &conv) {
                self.integer_convolution(graph, &conv.module(""), &weight, &bias, &x)
            } else {
                // Pixels come with channels first.
                if self.index > 0 || self.patch.prenorm {
                    x = channels_first(graph, &x, self.input_grid, self.input_dim);
                }
                let x = graph.conv2d(&x, &weight, &bias, self.patch.geometry);
                channels_last(graph, &x, self.grid, self.dim)
            };
            if !self.patch.prenorm {
                x = layer_norm(graph, &norm, self.dim, &x)?;
            }
            Ok(x)
        })
    }

    /// Whether the convolution `conv` is computed [in integers](Self::integer_convolution). Pixels have too few channels for that.
    fn convolves_in_integers(&self, graph: &Graph<'_>, conv: &Weights<'_>) -> bool {
        let lowering = &graph.lowering;
        self.index > 0
            && lowering.operators == Operators::Custom
            && lowering.dtypes.of(&conv.module("")) != Dtype::Fp32
    }

    /// Quantizes the tokens `x`, copies those under the kernel side by side (im2col) and multiplies them with the kernels:
    /// a third of the time of the convolution in floats, as bytes are cheap to lay out and integer products fast.
    fn integer_convolution<'a>(
        &self,
        graph: &mut Graph<'a>,
        module: &str,
        weight: &Tensor<'a>,
        bias: &Tensor<'a>,
        x: &Value,
    ) -> Value {
        graph.within(module, |graph| {
            let quantized = DynamicQuantized::new(graph, x);
            let patches = DynamicQuantized {
                values: patches(graph, self, &quantized),
                ..quantized
            };
            let bias = graph.weight(bias);
            fused_integer_matmul(graph, x, Some(&patches), &by_patch(weight), Some(&bias))
        })
    }
}

/// u8 `[batch, input tokens, input dim]` to `[batch, tokens, kernel · kernel · input dim]`: for each token, the input
/// tokens under the kernel, row by row (im2col).
fn patches(graph: &mut Graph<'_>, stage: &Stage, x: &DynamicQuantized) -> Value {
    let (input, output, geometry) = (stage.input_grid, stage.grid, stage.patch.geometry);
    let [padding, stride] = [geometry.padding, geometry.stride].map(|size| size as i64);
    let [height, width] = [output.height, output.width].map(|size| size as i64);
    let shape = [0, input.height as i64, input.width as i64, stage.input_dim as i64];
    let pixels = graph.reshape(&x.values, &shape);
    let around = [0, padding, padding, 0];
    let pixels = graph.pad_with(&pixels, &around, &around, &x.zero_point);
    let kernel = geometry.kernel as i64;
    let offsets = (0..kernel).flat_map(|row| (0..kernel).map(move |column| [row, column]));
    let shifted: Vec<Value> = offsets
        .map(|[row, column]| {
            let ends = [row + (height - 1) * stride + 1, column + (width - 1) * stride + 1];
            graph.strided_slice(&pixels, [&[row, column], &ends, &[1, 2], &[stride; 2]])
        })
        .collect();
    let patches = graph.concat(&shifted.iter().collect::<Vec<_>>(), 3);
    let patch_dim = kernel * kernel * stage.input_dim as i64;
    graph.reshape(&patches, &[0, height * width, patch_dim])
}

/// A convolution's kernels, `[out, in, height, width]`, to `[height · width · in, out]`.
fn by_patch<'a>(weight: &Tensor<'a>) -> Tensor<'a> {
    let [outputs, inputs, height, width] = weight.shape() else {
        debug_assert!(false, "{} is not a convolution's", weight.name());
        return weight.clone();
    };
    let (outputs, inputs, area) = (*outputs, *inputs, height * width);
    weight.derived("by_patch", [area * inputs, outputs], move |values| {
        let mut rows = Vec::with_capacity(values.len());
        for position in 0..area {
            for input in 0..inputs {
                rows.extend((0..outputs).map(|output| values[(output * inputs + input) * area + position]));
            }
        }
        rows
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_become_rows_of_patches() {
        // Two outputs, three inputs, one row of two columns: the digits are output, input and position.
        let values = vec![0, 1, 10, 11, 20, 21, 100, 101, 110, 111, 120, 121];
        let weight = Tensor::new("w", [2, 3, 1, 2], move || {
            values.iter().map(|&value| value as f32).collect()
        });
        let rows = by_patch(&weight);
        assert_eq!(rows.shape(), [6, 2]);
        let expected = [0, 100, 10, 110, 20, 120, 1, 101, 11, 111, 21, 121];
        assert_eq!(rows.values(), expected.map(|value| value as f32));
    }
}
