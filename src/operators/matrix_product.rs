//! Products of matrices that fit into the CPU's cache.

use pulp::{Scalar, Simd};

/// The maximum number of rows whose sums are computed together: `ROWS · VECTORS` is half of the registers of AVX2.
const ROWS: usize = 4;
/// The maximum number of vectors of a row computed together.
const VECTORS: usize = 2;

/// A strided matrix.
#[derive(Debug, Clone, Copy)]
pub(super) struct Matrix<'a> {
    pub(super) values: &'a [f32],
    /// Distance between the starts of consecutive rows.
    pub(super) row_stride: usize,
    /// Distance between consecutive values of a row.
    pub(super) column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// Creates a matrix with contiguous rows.
    pub(super) fn of_rows(values: &'a [f32], row_stride: usize) -> Self {
        Self {
            values,
            row_stride,
            column_stride: 1,
        }
    }

    pub(super) fn transposed(self) -> Self {
        Self {
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }
}

/// `left · right`, `[rows, depth] · [depth, columns]`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Product<'a> {
    pub(super) left: Matrix<'a>,
    /// `[depth, columns]`, whose rows are `right_stride` apart.
    pub(super) right: &'a [f32],
    pub(super) right_stride: usize,
    pub(super) rows: usize,
    pub(super) depth: usize,
    pub(super) columns: usize,
}

impl Product<'_> {
    /// Adds the product to a matrix whose rows are `stride` apart.
    #[inline(always)]
    pub(super) fn add_to<S: Simd>(&self, simd: S, sums: &mut [f32], stride: usize) {
        let mut row = 0;
        while row + ROWS <= self.rows {
            self.add_rows::<S, ROWS>(simd, row, sums, stride);
            row += ROWS;
        }
        while row < self.rows {
            self.add_rows::<S, 1>(simd, row, sums, stride);
            row += 1;
        }
    }

    #[inline(always)]
    fn add_rows<S: Simd, const R: usize>(&self, simd: S, row: usize, sums: &mut [f32], stride: usize) {
        let mut column = 0;
        while column + VECTORS * S::F32_LANES <= self.columns {
            self.add_tile::<S, R, VECTORS>(simd, (row, column), sums, stride);
            column += VECTORS * S::F32_LANES;
        }
        while column + S::F32_LANES <= self.columns {
            self.add_tile::<S, R, 1>(simd, (row, column), sums, stride);
            column += S::F32_LANES;
        }
        while column < self.columns {
            self.add_tile::<Scalar, R, 1>(Scalar, (row, column), sums, stride);
            column += 1;
        }
    }

    /// Adds `R` rows of `C` vectors.
    #[inline(always)]
    fn add_tile<S: Simd, const R: usize, const C: usize>(
        &self,
        simd: S,
        (row, column): (usize, usize),
        sums: &mut [f32],
        stride: usize,
    ) {
        let Matrix {
            values,
            row_stride,
            column_stride,
        } = self.left;
        let columns = column..column + C * S::F32_LANES;
        let left = &values[row * row_stride..];
        let mut products = [[simd.splat_f32s(0.0); C]; R];
        for k in 0..self.depth {
            let right = &self.right[k * self.right_stride..][columns.clone()];
            let right = &S::as_simd_f32s(right).0[..C];
            for r in 0..R {
                let factor = simd.splat_f32s(left[r * row_stride + k * column_stride]);
                for c in 0..C {
                    products[r][c] = simd.mul_add_e_f32s(factor, right[c], products[r][c]);
                }
            }
        }
        for (r, products) in products.iter().enumerate() {
            let sums = &mut sums[(row + r) * stride..][columns.clone()];
            for (sum, &product) in S::as_mut_simd_f32s(sums).0.iter_mut().zip(products) {
                *sum = simd.add_f32s(*sum, product);
            }
        }
    }
}
