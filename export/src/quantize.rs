//! Weights with fewer bits.

use crate::byte_weights::{ByteWeight, Channels, byte_weight};
use crate::tensor::Tensor;

/// A weight of signed bytes, `weight ≈ values · scales`.
pub(crate) struct Int8Weight<'a> {
    /// As the weight, in −127..=127.
    pub(crate) values: Tensor<'a, i8>,
    /// One for each output channel.
    pub(crate) scales: Tensor<'a>,
}

/// `[in, out]` by output channel (column), symmetric: the largest magnitude of a column becomes 127.
pub(crate) fn int8_columns<'a>(weight: &Tensor<'a>) -> Int8Weight<'a> {
    let ByteWeight { values, scales, .. } = byte_weight(weight, Channels::Columns);
    Int8Weight { values, scales }
}

/// How blocks of a row are stored, each with a scale of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BlockFormat {
    /// 128 bytes, in −127..=127, counted from 128.
    Int8,
    /// 32 times 4 bits, in −8..=7, counted from 8; the lower half of a byte comes first.
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

    /// Values of a block. Larger ones of bytes lose nothing that shows, and read fewer scales.
    pub(crate) fn block_size(self) -> usize {
        match self {
            BlockFormat::Int8 => 128,
            BlockFormat::Int4 => 32,
        }
    }

    /// What a stored 0 stands for, negated.
    pub(crate) fn zero_point(self) -> u8 {
        1 << (self.bits() - 1)
    }

    /// Bytes of a block.
    fn block_bytes(self) -> usize {
        self.block_size() * self.bits() / 8
    }

    /// What a block's values are divided by.
    fn scale(self, block: &[f32]) -> f32 {
        let largest = block.iter().copied().max_by(|a, b| a.abs().total_cmp(&b.abs()));
        let largest = largest.unwrap_or_default();
        match self {
            _ if largest == 0.0 => 1.0,
            BlockFormat::Int8 => largest.abs() / 127.0,
            // There is one more step below zero than above: the largest magnitude gets it, whatever its sign.
            BlockFormat::Int4 => largest / -8.0,
        }
    }

    fn append_block(self, block: &[f32], bytes: &mut Vec<u8>) {
        let (scale, zero) = (self.scale(block), f32::from(self.zero_point()));
        let largest = 2.0 * zero - 1.0;
        let value = |place: usize| {
            let value = block.get(place).copied().unwrap_or_default();
            ((value / scale).round() + zero).clamp(0.0, largest) as u8
        };
        match self {
            BlockFormat::Int8 => bytes.extend((0..self.block_size()).map(value)),
            BlockFormat::Int4 => bytes.extend(
                (0..self.block_size())
                    .step_by(2)
                    .map(|place| value(place) | value(place + 1) << 4),
            ),
        }
    }
}

/// A matrix whose rows are cut into blocks; a row's last block is filled up with zeros.
pub(crate) struct BlockWeight<'a> {
    /// Size of the matrix, `[rows, columns]`.
    pub(crate) shape: [usize; 2],
    /// `[rows, blocks of a row, bytes of a block]`.
    pub(crate) values: Tensor<'a, u8>,
    /// `[rows, blocks of a row]`.
    pub(crate) scales: Tensor<'a>,
}

/// The matrix `weight`, `[rows, columns]`, by blocks.
pub(crate) fn by_blocks<'a>(weight: &Tensor<'a>, format: BlockFormat) -> BlockWeight<'a> {
    let columns = weight.shape().last().copied().unwrap_or_default();
    let rows = weight.len() / columns.max(1);
    let blocks = columns.div_ceil(format.block_size());
    let suffix = format!("int{}_blocks", format.bits());
    BlockWeight {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_column_has_its_scale() {
        let weight = Tensor::new("w", [3, 3], || {
            vec![1.27, -254.0, 0.0, -0.5, 20.0, 0.0, 0.014, 3.0, 0.0]
        });
        let Int8Weight { values, scales } = int8_columns(&weight);
        assert_eq!((values.name(), scales.name()), ("w.int8", "w.int8_scale"));
        assert_eq!(values.values(), [127, -127, 0, -50, 10, 0, 1, 2, 0]);
        let scales = scales.values();
        assert_eq!(scales[..2], [0.01, 2.0]);
        assert!(scales[2] > 0.0);
    }

    /// What the stored values stand for.
    fn restored(weight: &BlockWeight<'_>, format: BlockFormat) -> Vec<f32> {
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
                let places = (0..3).flat_map(|row| (0..columns).map(move |column| (row, column)));
                places.map(|(row, column)| at(row, column)).collect()
            });
            let blocks = by_blocks(&weight, format);
            assert_eq!(blocks.values.shape(), [3, 2, size * format.bits() / 8]);
            assert_eq!(blocks.scales.shape(), [3, 2]);
            let (restored, scales) = (restored(&blocks, format), blocks.scales.values());
            for row in 0..3 {
                for column in 0..2 * size {
                    let restored = restored[row * 2 * size + column];
                    let scale = scales[row * 2 + column / size].abs();
                    if column >= columns {
                        assert_eq!(restored, 0.0);
                        continue;
                    }
                    let error = (restored - at(row, column)).abs();
                    // The largest magnitude of a block is met; at the other end, 4 bits lack the last step.
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
            let restored = restored(&by_blocks(&weight, BlockFormat::Int4), BlockFormat::Int4);
            assert_eq!(restored[3], largest);
            assert_eq!(restored[16], 2.0);
        }
    }

    #[test]
    fn blocks_of_nothing_are_zeros() {
        let weight = Tensor::new("w", [1, 32], || vec![0.0; 32]);
        assert_eq!(
            restored(&by_blocks(&weight, BlockFormat::Int4), BlockFormat::Int4),
            [0.0; 32]
        );
    }
}
