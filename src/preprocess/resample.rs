//! The two passes of a resize, over rows and over columns, each rounded to 8 bits.
//!
//! The arithmetic is 32-bit fixed point and exact in any order, so it is laid out for vector instructions. Plain loops are
//! compiled for several instruction sets: the baseline's 32-bit multiplication is slow.

use multiversion::multiversion;
use wide::u8x16;

use super::filter::Weights;

/// Red, green, blue.
pub(super) const CHANNELS: usize = 3;

/// Rows per block of the horizontal pass. A block is transposed, so that sums run across rows, over `CHANNELS * LANES`
/// adjacent values with the same weight.
const LANES: usize = 16;
/// The maximum length in pixels of rows that are transposed: the transpose of a few long rows (a panorama) would need
/// many times their memory.
const MAX_TRANSPOSED: usize = 1 << 17;

/// The bytes of `LANES` rows in one column.
type Column = [u8; LANES];

/// The horizontal pass and its buffers.
#[derive(Default)]
pub(super) struct RowFilter {
    input: Vec<Column>,
    output: Vec<Column>,
}

impl RowFilter {
    /// Resizes rows horizontally. `rows` has `row` bytes per row, `output` has the same number of rows of `CHANNELS *
    /// weights.len()` bytes.
    pub fn filter(&mut self, rows: &[u8], row: usize, weights: &Weights, output: &mut [u8]) {
        let output_row = CHANNELS * weights.len();
        if row > CHANNELS * MAX_TRANSPOSED {
            for (row, output) in rows.chunks_exact(row).zip(output.chunks_exact_mut(output_row)) {
                filter_row(row, weights, output);
            }
            return;
        }
        self.input.resize(row, [0; LANES]);
        self.output.resize(output_row, [0; LANES]);
        let blocks = rows
            .chunks(row * LANES)
            .zip(output.chunks_mut(output_row * LANES));
        for (rows, output) in blocks {
            rows_to_columns(rows, row, &mut self.input);
            filter_transposed_rows(&self.input, weights, &mut self.output);
            columns_to_rows(&self.output, output, output_row);
        }
    }
}

/// Filters one row, pixel by pixel.
fn filter_row(row: &[u8], weights: &Weights, output: &mut [u8]) {
    let (input, _) = row.as_chunks::<CHANNELS>();
    let (output, _) = output.as_chunks_mut::<CHANNELS>();
    let bits = weights.precision_bits();
    for (output, (first, weights)) in output.iter_mut().zip(weights.iter()) {
        let mut sums = [half(bits); CHANNELS];
        for (pixel, &weight) in input.iter().skip(first).zip(weights) {
            accumulate(&mut sums, pixel, weight);
        }
        *output = sums.map(|sum| clip8(sum, bits));
    }
}

#[multiversion(targets("x86_64+avx2", "x86_64+sse4.1"))]
fn filter_transposed_rows(input: &[Column], weights: &Weights, output: &mut [Column]) {
    let (input, _) = input.as_chunks::<CHANNELS>();
    let (output, _) = output.as_chunks_mut::<CHANNELS>();
    let bits = weights.precision_bits();
    for (output, (first, weights)) in output.iter_mut().zip(weights.iter()) {
        let mut sums = [half(bits); CHANNELS * LANES];
        let pixels = input.get(first..).unwrap_or_default();
        for (pixel, &weight) in pixels.iter().zip(weights) {
            accumulate(&mut sums, pixel.as_flattened(), weight);
        }
        for (value, sum) in output.as_flattened_mut().iter_mut().zip(sums) {
            *value = clip8(sum, bits);
        }
    }
}

/// Computes one row of the vertical pass: the weighted sum of `rows`, each as long as `output`. The weights have `bits`
/// fractional bits.
#[multiversion(targets("x86_64+avx2", "x86_64+sse4.1"))]
pub(super) fn filter_columns(rows: &[u8], weights: &[i32], bits: u32, output: &mut [u8]) {
    /// The number of sums that fit into registers.
    const BLOCK: usize = 64;
    let row = output.len();
    let (blocks, rest) = output.as_chunks_mut::<BLOCK>();
    for (index, block) in blocks.iter_mut().enumerate() {
        let mut sums = [half(bits); BLOCK];
        for (values, &weight) in rows.chunks_exact(row).zip(weights) {
            if let Some(values) = values.as_chunks::<BLOCK>().0.get(index) {
                accumulate(&mut sums, values, weight);
            }
        }
        for (value, sum) in block.iter_mut().zip(sums) {
            *value = clip8(sum, bits);
        }
    }
    let mut sums = [half(bits); BLOCK];
    for (values, &weight) in rows.chunks_exact(row).zip(weights) {
        accumulate(&mut sums, values.as_chunks::<BLOCK>().1, weight);
    }
    for (value, sum) in rest.iter_mut().zip(sums) {
        *value = clip8(sum, bits);
    }
}

#[inline(always)]
fn accumulate(sums: &mut [i32], values: &[u8], weight: i32) {
    for (sum, &value) in sums.iter_mut().zip(values) {
        *sum += i32::from(value) * weight;
    }
}

/// Returns half a level in fixed point, for rounding.
#[inline(always)]
fn half(bits: u32) -> i32 {
    1 << (bits - 1)
}

#[inline(always)]
fn clip8(sum: i32, bits: u32) -> u8 {
    (sum >> bits).clamp(0, 255) as u8
}

/// Transposes up to `LANES` rows; the lanes of missing rows are 0.
fn rows_to_columns(rows: &[u8], row: usize, columns: &mut [Column]) {
    let mut blocks: [_; LANES] = [[].as_slice(); LANES];
    let mut rests: [_; LANES] = [[].as_slice(); LANES];
    for ((block, rest), row) in blocks.iter_mut().zip(&mut rests).zip(rows.chunks_exact(row)) {
        (*block, *rest) = row.as_chunks::<LANES>();
    }
    for (index, columns) in columns.chunks_mut(LANES).enumerate() {
        let lane = |lane: usize| match blocks[lane].get(index) {
            Some(values) => u8x16::new(*values),
            None => padded(rests[lane]),
        };
        let transposed = transpose(std::array::from_fn(lane));
        for (column, values) in columns.iter_mut().zip(transposed) {
            *column = values.to_array();
        }
    }
}

/// Transposes columns back into up to `LANES` rows.
fn columns_to_rows(columns: &[Column], rows: &mut [u8], row: usize) {
    for (index, columns) in columns.chunks(LANES).enumerate() {
        let column = |at: usize| columns.get(at).map_or(u8x16::ZERO, |column| u8x16::new(*column));
        let transposed = transpose(std::array::from_fn(column));
        for (row, values) in rows.chunks_exact_mut(row).zip(transposed) {
            let to = row.get_mut(index * LANES..).unwrap_or_default();
            match to.first_chunk_mut() {
                Some(to) => *to = values.to_array(),
                None => to.copy_from_slice(&values.to_array()[..to.len()]),
            }
        }
    }
}

/// Pads at most `LANES` values with 0.
fn padded(values: &[u8]) -> u8x16 {
    let mut all = [0; LANES];
    for (to, &value) in all.iter_mut().zip(values) {
        *to = value;
    }
    u8x16::new(all)
}

/// Transposes the matrix by four rounds of interleaving its upper with its lower half.
fn transpose(mut rows: [u8x16; LANES]) -> [u8x16; LANES] {
    for _ in 0..LANES.ilog2() {
        rows = std::array::from_fn(|at| {
            let (upper, lower) = (rows[at / 2], rows[at / 2 + LANES / 2]);
            if at % 2 == 0 {
                u8x16::unpack_low(upper, lower)
            } else {
                u8x16::unpack_high(upper, lower)
            }
        });
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preprocess::{ImageBackend, Resample};

    #[test]
    fn transposed_rows_equal_single_rows() {
        for (resample, width, height) in [
            (Resample::Bicubic, 301, 37),
            (Resample::Lanczos, 48, 16),
            (Resample::Bicubic, 5, 3),
            (Resample::Box, 16, 33),
        ] {
            let row = width * CHANNELS;
            let image: Vec<u8> = (0..row * height).map(|at| (at * at * 89) as u8).collect();
            let weights = Weights::new(resample.kernel().unwrap(), width, 41, ImageBackend::Pillow);
            let output_row = weights.len() * CHANNELS;
            let mut transposed = vec![0; output_row * height];
            RowFilter::default().filter(&image, row, &weights, &mut transposed);
            let mut single = vec![0; output_row * height];
            for (row, output) in image.chunks(row).zip(single.chunks_mut(output_row)) {
                filter_row(row, &weights, output);
            }
            assert!(transposed == single, "{resample:?} {width} {height}");
        }
    }

    #[test]
    fn transposing_swaps_rows_and_columns() {
        let rows: [u8x16; LANES] =
            std::array::from_fn(|row| u8x16::new(std::array::from_fn(|column| (row * LANES + column) as u8)));
        let columns = transpose(rows);
        for (row, column) in (0..LANES).flat_map(|row| (0..LANES).map(move |column| (row, column))) {
            assert_eq!(columns[column].to_array()[row], rows[row].to_array()[column]);
        }
    }
}
