//! Weights quantized by blocks of their rows, for a few rows of inputs at a time, none of which depends on the others.

use crate::graph::{Attribute, Graph, Value};
use crate::tensor::Tensor;

/// The format of blocks of a row, each of which has a scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BlockFormat {
    /// 128 bytes, −127..=127 around a zero point of 128.
    Int8,
    /// 32 values of 4 bits, −8..=7 around a zero point of 8; the lower half of a byte comes first.
    Int4,
}

impl BlockFormat {
    /// Bits of a value.
    pub(crate) fn bits(self) -> usize {
        match self {
            BlockFormat::Int8 => 8,
            BlockFormat::Int4 => 4,
        }
    }

    /// Number of values in a block. Larger blocks of bytes lose nothing measurable, and read fewer scales.
    pub(crate) fn block_size(self) -> usize {
        match self {
            BlockFormat::Int8 => 128,
            BlockFormat::Int4 => 32,
        }
    }

    /// The stored value of 0.
    pub(crate) fn zero_point(self) -> u8 {
        1 << (self.bits() - 1)
    }

    /// Bytes of a block.
    fn block_bytes(self) -> usize {
        self.block_size() * self.bits() / 8
    }

    /// The factor that a block's values are divided by.
    fn scale(self, block: &[f32]) -> f32 {
        let largest = block.iter().copied().max_by(|a, b| a.abs().total_cmp(&b.abs()));
        let largest = largest.unwrap_or_default();
        match self {
            _ if largest == 0.0 => 1.0,
            BlockFormat::Int8 => largest.abs() / 127.0,
            // The range has one more step below zero than above. The scale's sign is chosen so that the largest
            // magnitude gets it.
            BlockFormat::Int4 => largest / -8.0,
        }
    }

    fn append_block(self, block: &[f32], bytes: &mut Vec<u8>) {
        let (scale, zero) = (self.scale(block), f32::from(self.zero_point()));
        let largest = 2.0 * zero - 1.0;
        let value = |index: usize| {
            let value = block.get(index).copied().unwrap_or_default();
            ((value / scale).round() + zero).clamp(0.0, largest) as u8
        };
        match self {
            BlockFormat::Int8 => bytes.extend((0..self.block_size()).map(value)),
            BlockFormat::Int4 => bytes.extend(
                (0..self.block_size())
                    .step_by(2)
                    .map(|index| value(index) | value(index + 1) << 4),
            ),
        }
    }
}

/// A matrix whose rows are cut into blocks; a row's last block is padded with zeros.
pub(crate) struct BlockWeight<'a> {
    format: BlockFormat,
    /// Size of the matrix, `[rows, columns]`.
    pub(crate) shape: [usize; 2],
    /// `[rows, blocks of a row, bytes of a block]`.
    pub(crate) values: Tensor<'a, u8>,
    /// `[rows, blocks of a row]`.
    pub(crate) scales: Tensor<'a>,
}

impl<'a> BlockWeight<'a> {
    /// Quantizes the matrix `weight`, `[rows, columns]`.
    pub(crate) fn new(weight: &Tensor<'a>, format: BlockFormat) -> Self {
        let columns = weight.shape().last().copied().unwrap_or_default();
        let rows = weight.len() / columns.max(1);
        let blocks = columns.div_ceil(format.block_size());
        let suffix = format!("int{}_blocks", format.bits());
        BlockWeight {
            format,
            shape: [rows, columns],
            values: weight.derived(&suffix, [rows, blocks, format.block_bytes()], move |values| {
                let mut bytes = Vec::with_capacity(rows * blocks * format.block_bytes());
                let of_rows = values.chunks(columns.max(1));
                of_rows
                    .flat_map(|row| row.chunks(format.block_size()))
                    .for_each(|block| format.append_block(block, &mut bytes));
                bytes
            }),
            scales: weight.derived(&format!("{suffix}_scale"), [rows, blocks], move |values| {
                let of_rows = values.chunks(columns.max(1));
                let blocks = of_rows.flat_map(|row| row.chunks(format.block_size()));
                blocks.map(|block| format.scale(block)).collect()
            }),
        }
    }

    /// `x · weightᵀ` in floats.
    pub(crate) fn matmul(&self, graph: &mut Graph<'a>, x: &Value) -> Value {
        self.matmul_nbits(graph, x, None, &[])
    }

    /// `x · weightᵀ + bias` in integers: each row of `x` is quantized by blocks at run time.
    pub(crate) fn integer_matmul(&self, graph: &mut Graph<'a>, x: &Value, bias: Option<&Value>) -> Value {
        let int8_products = ("accuracy_level", Attribute::Int(4));
        self.matmul_nbits(graph, x, bias, &[int8_products])
    }

    fn matmul_nbits(
        &self,
        graph: &mut Graph<'a>,
        x: &Value,
        bias: Option<&Value>,
        more: &[(&str, Attribute<'_>)],
    ) -> Value {
        let [outputs, inputs] = self.shape;
        let mut attributes = vec![
            ("K", Attribute::Int(inputs as i64)),
            ("N", Attribute::Int(outputs as i64)),
            ("bits", Attribute::Int(self.format.bits() as i64)),
            ("block_size", Attribute::Int(self.format.block_size() as i64)),
        ];
        attributes.extend_from_slice(more);
        let (values, scales) = (graph.weight(&self.values), graph.weight(&self.scales));
        let absent = Value::absent();
        let mut inputs = vec![x, &values, &scales];
        if let Some(bias) = bias {
            // The two inputs between them are zero points (by default the middle) and the order of the columns.
            inputs.extend([&absent, &absent, bias]);
        }
        graph.contrib("MatMulNBits", &inputs, &attributes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The matrix that the stored values approximate.
    fn dequantized(weight: &BlockWeight<'_>, format: BlockFormat) -> Vec<f32> {
        let values = weight.values.values();
        let values = values.iter().flat_map(move |&byte| match format {
            BlockFormat::Int8 => vec![byte],
            BlockFormat::Int4 => vec![byte & 15, byte >> 4],
        });
        let scales = weight.scales.values();
        let zero = f32::from(format.zero_point());
        let restored = values.enumerate();
        restored
            .map(|(index, value)| (f32::from(value) - zero) * scales[index / format.block_size()])
            .collect()
    }

    #[test]
    fn blocks_are_restored_within_half_a_step_and_filled_up_with_zeros() {
        for format in [BlockFormat::Int8, BlockFormat::Int4] {
            let size = format.block_size();
            let columns = size + 5;
            let at = |row: usize, column: usize| ((row * 31 + column * 17) % 41) as f32 * 0.5 - 10.0;
            let weight = Tensor::new("w", [3, columns], move || {
                let positions = (0..3).flat_map(|row| (0..columns).map(move |column| (row, column)));
                positions.map(|(row, column)| at(row, column)).collect()
            });
            let blocks = BlockWeight::new(&weight, format);
            assert_eq!(blocks.values.shape(), [3, 2, size * format.bits() / 8]);
            assert_eq!(blocks.scales.shape(), [3, 2]);
            let (restored, scales) = (dequantized(&blocks, format), blocks.scales.values());
            for row in 0..3 {
                for column in 0..2 * size {
                    let restored = restored[row * 2 * size + column];
                    let scale = scales[row * 2 + column / size].abs();
                    if column >= columns {
                        assert_eq!(restored, 0.0);
                        continue;
                    }
                    let error = (restored - at(row, column)).abs();
                    // The largest magnitude of a block is exact; values near the other end of the range are clamped
                    // at 4 bits.
                    let allowed = if format == BlockFormat::Int4 { 1.0 } else { 0.5001 };
                    assert!(
                        error <= allowed * scale,
                        "{format:?} {row} {column}: {error} of {scale}"
                    );
                }
            }
        }
    }

    #[test]
    fn four_bits_meet_the_largest_magnitude_of_either_sign() {
        for largest in [8.0f32, -8.0] {
            let weight = Tensor::new("w", [1, 32], move || {
                (0..32)
                    .map(|index| if index == 3 { largest } else { index as f32 / 8.0 })
                    .collect()
            });
            let restored = dequantized(&BlockWeight::new(&weight, BlockFormat::Int4), BlockFormat::Int4);
            assert_eq!(restored[3], largest);
            assert_eq!(restored[16], 2.0);
        }
    }

    #[test]
    fn blocks_of_nothing_are_zeros() {
        let weight = Tensor::new("w", [1, 32], || vec![0.0; 32]);
        assert_eq!(
            dequantized(&BlockWeight::new(&weight, BlockFormat::Int4), BlockFormat::Int4),
            [0.0; 32]
        );
    }
}
