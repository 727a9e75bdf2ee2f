//! The 4-bit floats of bitsandbytes (NF4; *QLoRA*, Dettmers et al., 2023), in the layout of ONNX Runtime's `MatMulBnb4`.

use crate::graph::{Attribute, Graph, Value};
use crate::tensor::Tensor;

/// Number of values that share a scale.
const BLOCK_SIZE: usize = 64;

/// The values of the 16 codes: quantiles of a normal distribution divided by its largest magnitude, one of them 0
/// (bitsandbytes' `create_normal_map`).
const LEVELS: [f32; 16] = [
    -1.0,
    -0.696_192_8,
    -0.525_073_05,
    -0.394_917_5,
    -0.284_441_38,
    -0.184_773_43,
    -0.091_050_036,
    0.0,
    0.079_580_3,
    0.160_930_2,
    0.246_112_3,
    0.337_915_24,
    0.440_709_83,
    0.562_617,
    0.722_956_84,
    1.0,
];

/// A matrix `[in, out]` of 4-bit floats, transposed and cut into blocks regardless of its rows.
pub(super) struct Nf4Weight<'a> {
    /// `[in, out]`.
    shape: [usize; 2],
    /// Two codes in a byte, the first in its upper half, `[values / 2]`.
    values: Tensor<'a, u8>,
    /// The largest magnitude of each block, `[blocks]`.
    scales: Tensor<'a>,
}

impl<'a> Nf4Weight<'a> {
    /// Quantizes the matrix `weight`, `[in, out]`.
    pub(super) fn new(weight: &Tensor<'a>) -> Self {
        let shape = [0, 1].map(|axis| weight.shape().get(axis).copied().unwrap_or_default());
        let weight = weight.clone().transposed();
        let len = weight.len();
        Nf4Weight {
            shape,
            values: weight.derived("nf4", [len.div_ceil(2)], |values| pack(&values)),
            scales: weight.derived("nf4_scale", [len.div_ceil(BLOCK_SIZE)], |values| {
                values.chunks(BLOCK_SIZE).map(largest).collect()
            }),
        }
    }

    /// `x · weight`.
    pub(super) fn matmul(&self, graph: &mut Graph<'a>, x: &Value) -> Value {
        let [inputs, outputs] = self.shape.map(|size| size as i64);
        let attributes = [
            ("K", Attribute::Int(inputs)),
            ("N", Attribute::Int(outputs)),
            ("block_size", Attribute::Int(BLOCK_SIZE as i64)),
            // NF4.
            ("quant_type", Attribute::Int(1)),
        ];
        let (values, scales) = (graph.weight(&self.values), graph.weight(&self.scales));
        graph.contrib("MatMulBnb4", &[x, &values, &scales], &attributes)
    }
}

/// The codes of `values`, two in a byte.
fn pack(values: &[f32]) -> Vec<u8> {
    let codes: Vec<u8> = values.chunks(BLOCK_SIZE).flat_map(codes).collect();
    let pairs = codes.chunks(2);
    pairs
        .map(|pair| pair.iter().fold(0, |byte, code| byte << 4 | code) << (4 * (2 - pair.len())))
        .collect()
}

fn largest(block: &[f32]) -> f32 {
    block.iter().fold(0.0, |largest, value| value.abs().max(largest))
}

/// The code of each value of a block.
fn codes(block: &[f32]) -> Vec<u8> {
    let scale = match largest(block) {
        0.0 => 1.0,
        largest => largest,
    };
    block.iter().map(|value| nearest(value / scale)).collect()
}

/// The code of the nearest level, the lower of two that are equally near.
fn nearest(value: f32) -> u8 {
    let below = LEVELS.windows(2).filter(|pair| value > (pair[0] + pair[1]) / 2.0);
    below.count() as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_has_its_code() {
        for (code, level) in LEVELS.iter().enumerate() {
            assert_eq!(usize::from(nearest(*level)), code);
        }
        assert_eq!((nearest(0.04), nearest(0.03), nearest(-0.05)), (8, 7, 6));
    }

    #[test]
    fn values_are_packed_upper_half_first_by_blocks() {
        // 65 values: a block, and one more with a scale of its own.
        let weight = Tensor::new("w", [65, 1], || {
            (0..65)
                .map(|index| {
                    if index == 64 {
                        -3.0
                    } else {
                        index as f32 / 63.0 * 2.0
                    }
                })
                .collect()
        });
        let Nf4Weight { values, scales, .. } = Nf4Weight::new(&weight);
        assert_eq!((values.shape(), scales.shape()), (&[33][..], &[2][..]));
        assert_eq!(scales.values(), [2.0, 3.0]);
        let bytes = values.values();
        // 0 and 1/63, 62/63 and 1; -1 by itself.
        assert_eq!((bytes[0], bytes[31], bytes[32]), (0x77, 0xff, 0x00));
        let zeros = Nf4Weight::new(&Tensor::new("zeros", [2, 1], || vec![0.0; 2]));
        assert_eq!(
            (zeros.values.values(), zeros.scales.values()),
            (vec![0x77], vec![0.0])
        );
    }
}
