//! The convolution that begins a stage, as one product of bytes.

use crate::checkpoint::Weights;
use crate::error::Result;
use crate::graph::{Graph, Quantized, Value};
use crate::model::davit::Stage;
use crate::model::layers::layer_norm;
use crate::model::step::linear::int8_weight;
use crate::precisions::Precisions;
use crate::target::Precision;
use crate::tensor::Tensor;

/// The input of a stage, pixels for the first and tokens for the others, to its tokens, `[batch, tokens, dim]`; `tower`
/// has `convs.{stage}`.
///
/// In bytes, the tokens under the kernel are laid side by side (im2col) and multiplied with the kernels: a third of the
/// time of the convolution in floats, as bytes are cheap to lay out and integer products fast. Pixels have too few
/// channels for that.
pub(super) fn patch_embedding<'a>(
    graph: &mut Graph<'a>,
    precisions: &Precisions<'_>,
    stage: &Stage,
    tower: &Weights<'a>,
    x: &Value,
) -> Result<Value> {
    let module = format!("convs.{}", stage.index);
    let weights = tower.at(&module);
    let path = |name: &str| weights.path(name);
    if stage.index == 0 || precisions.of(&path("conv")) == Precision::Fp32 {
        return graph.within(&tower.path(&module), |graph| {
            stage.patch_embedding(graph, tower, x)
        });
    }
    let norm = |graph: &mut Graph<'a>, dim: usize, x: &Value| {
        graph.within(&path("norm"), |graph| {
            layer_norm(graph, &weights.at("norm"), dim, x)
        })
    };
    let prenorm = stage.patch.prenorm;
    let normed = if prenorm {
        norm(graph, stage.input_dim, x)?
    } else {
        x.clone()
    };
    let convolved = graph.within(&path("conv"), |graph| {
        integer_convolution(graph, stage, &weights.at("conv"), &normed)
    })?;
    if prenorm {
        Ok(convolved)
    } else {
        norm(graph, stage.dim, &convolved)
    }
}

fn integer_convolution<'a>(
    graph: &mut Graph<'a>,
    stage: &Stage,
    weights: &Weights<'a>,
    x: &Value,
) -> Result<Value> {
    let kernel = stage.patch.geometry.kernel;
    let weight = weights.tensor("weight", &[stage.dim, stage.input_dim, kernel, kernel])?;
    let bias = weights.tensor("bias", &[stage.dim])?;
    let quantized = graph.dynamic_quantize(x);
    let patches = Quantized {
        values: patches(graph, stage, &quantized),
        ..quantized
    };
    let weight = int8_weight(graph, &by_patch(&weight));
    let bias = graph.weight(&bias);
    Ok(graph.matmul_integer_to_float(&patches, &weight, Some(&bias)))
}

/// u8 `[batch, input tokens, input dim]` to `[batch, tokens, kernel · kernel · input dim]`: for each token, those under
/// the kernel, row by row.
fn patches(graph: &mut Graph<'_>, stage: &Stage, x: &Quantized) -> Value {
    let (input, output, geometry) = (stage.input_grid, stage.grid, stage.patch.geometry);
    let [padding, stride] = [geometry.padding, geometry.stride].map(|size| size as i64);
    let [height, width] = [output.height, output.width].map(|size| size as i64);
    let shape = [0, input.height as i64, input.width as i64, stage.input_dim as i64];
    let pixels = graph.reshape(&x.values, &shape);
    let around = [0, padding, padding, 0];
    let pixels = graph.pad_with(&pixels, &around, &around, &x.zero_point);
    let kernel = geometry.kernel as i64;
    let places = (0..kernel).flat_map(|row| (0..kernel).map(move |column| [row, column]));
    let shifted: Vec<Value> = places
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
        for place in 0..area {
            for input in 0..inputs {
                rows.extend((0..outputs).map(|output| values[(output * inputs + input) * area + place]));
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
        // Two outputs, three inputs, one row of two columns: the digits say which.
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
