//! 4-bit floats as bitsandbytes has them (NF4, *QLoRA*, Dettmers et al., 2023), stored as ONNX Runtime's `MatMulBnb4`
//! wants them.

use crate::tensor::Tensor;

/// Values of a block, which have a scale together.
pub(crate) const BLOCK_SIZE: usize = 64;

/// What the 16 numbers stand for: the quantiles of a normal distribution over its largest magnitude, one of them being
/// 0 (bitsandbytes' `create_normal_map`).
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

/// A matrix of 4-bit floats.
pub(crate) struct Nf4Weight<'a> {
    /// Two in a byte, the first in its upper half, `[values / 2]`.
    pub(crate) values: Tensor<'a, u8>,
    /// The largest magnitude of each block, `[blocks]`.
    pub(crate) scales: Tensor<'a>,
}

/// The values of `weight`, in their order, by blocks that do not heed its rows.
pub(crate) fn nf4<'a>(weight: &Tensor<'a>) -> Nf4Weight<'a> {
    let len = weight.len();
    Nf4Weight {
        values: weight.derived("nf4", [len.div_ceil(2)], |values| {
            let numbers: Vec<u8> = values.chunks(BLOCK_SIZE).flat_map(numbers).collect();
            let pairs = numbers.chunks(2);
            pairs
                .map(|pair| pair.iter().fold(0, |byte, number| byte << 4 | number) << (4 * (2 - pair.len())))
                .collect()
        }),
        scales: weight.derived("nf4_scale", [len.div_ceil(BLOCK_SIZE)], |values| {
            values.chunks(BLOCK_SIZE).map(largest).collect()
        }),
    }
}

fn largest(block: &[f32]) -> f32 {
    block.iter().fold(0.0, |largest, value| value.abs().max(largest))
}

/// The number of the level next to each value.
fn numbers(block: &[f32]) -> Vec<u8> {
    let scale = match largest(block) {
        0.0 => 1.0,
        largest => largest,
    };
    block.iter().map(|value| nearest(value / scale)).collect()
}

/// Of two that are as near, the lower one.
fn nearest(value: f32) -> u8 {
    let below = LEVELS.windows(2).filter(|pair| value > (pair[0] + pair[1]) / 2.0);
    below.count() as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_has_its_number() {
        for (number, level) in LEVELS.iter().enumerate() {
            assert_eq!(usize::from(nearest(*level)), number);
        }
        assert_eq!((nearest(0.04), nearest(0.03), nearest(-0.05)), (8, 7, 6));
    }

    #[test]
    fn values_are_packed_upper_half_first_by_blocks() {
        // 65 values: a block, and one more of a scale of its own.
        let weight = Tensor::new("w", [5, 13], || {
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
        let Nf4Weight { values, scales } = nf4(&weight);
        assert_eq!((values.shape(), scales.shape()), (&[33][..], &[2][..]));
        assert_eq!(scales.values(), [2.0, 3.0]);
        let bytes = values.values();
        // 0 and 1/63, 62/63 and 1; -1 by itself.
        assert_eq!((bytes[0], bytes[31], bytes[32]), (0x77, 0xff, 0x00));
        let zeros = nf4(&Tensor::new("zeros", [2], || vec![0.0; 2]));
        assert_eq!(
            (zeros.values.values(), zeros.scales.values()),
            (vec![0x77], vec![0.0])
        );
    }
}
