//! Attention of one head, which reads keys and values once for several queries.

use std::ops::Range;

use pulp::{Scalar, Simd, WithSimd};

use super::exponential::exp;

/// The maximum number of queries computed together.
const QUERIES: usize = 4;
/// Keys whose products with queries are computed together: each part of a query is read once for all of them.
const KEYS: usize = 4;
/// The maximum number of vectors of values summed together.
const VECTORS: usize = 4;
/// Scores of a query are padded to a multiple of this: the lanes of the widest vectors.
const SCORES_UNIT: usize = 16;

/// The work of one head of one image.
pub(super) struct Head<'a> {
    /// `[length, size]`, as are `values`.
    pub(super) keys: &'a [f32],
    pub(super) values: &'a [f32],
    pub(super) size: usize,
    /// `[size]` each.
    pub(super) queries: Vec<&'a [f32]>,
    /// The results, one for each query.
    pub(super) attended: Vec<&'a mut [f32]>,
}

impl WithSimd for Head<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let Self {
            keys, values, size, ..
        } = self;
        let head = SharedHead { keys, values, size };
        let mut weights = Vec::new();
        let mut attended = self.attended.as_mut_slice();
        for queries in self.queries.chunks(QUERIES) {
            let (results, rest) = attended.split_at_mut(queries.len());
            attended = rest;
            match queries.len() {
                1 => head.attend::<S, 1>(simd, queries, results, &mut weights),
                2 => head.attend::<S, 2>(simd, queries, results, &mut weights),
                3 => head.attend::<S, 3>(simd, queries, results, &mut weights),
                _ => head.attend::<S, QUERIES>(simd, queries, results, &mut weights),
            }
        }
    }
}

/// The keys and values that queries share.
struct SharedHead<'a> {
    /// `[length, size]`, as are `values`.
    keys: &'a [f32],
    values: &'a [f32],
    size: usize,
}

impl SharedHead<'_> {
    /// Computes `N` queries; `weights` is a buffer for their scores.
    #[inline(always)]
    fn attend<S: Simd, const N: usize>(
        &self,
        simd: S,
        queries: &[&[f32]],
        attended: &mut [&mut [f32]],
        weights: &mut Vec<f32>,
    ) {
        let mut query_slices: [&[f32]; N] = [&[]; N];
        query_slices.copy_from_slice(queries);
        let length = self.keys.len() / self.size;
        let row_len = length.next_multiple_of(SCORES_UNIT);
        weights.clear();
        weights.resize(N * row_len, 0.0);
        // Columns that fill vectors, and the rest.
        let whole = self.size - self.size % S::F32_LANES;
        self.add_scores::<S, N>(simd, &query_slices, 0..whole, weights, row_len);
        self.add_scores::<Scalar, N>(Scalar, &query_slices, whole..self.size, weights, row_len);

        let scale = (self.size as f32).sqrt().recip();
        let mut factors = [0.0; N];
        for (factor, row) in factors.iter_mut().zip(weights.chunks_exact_mut(row_len)) {
            row[length..].fill(f32::NEG_INFINITY);
            *factor = softmax_numerators(simd, row, scale).recip();
        }

        let mut column = 0;
        while column + VECTORS * S::F32_LANES <= whole {
            self.mix::<S, N, VECTORS>(simd, weights, row_len, factors, column, attended);
            column += VECTORS * S::F32_LANES;
        }
        while column < whole {
            self.mix::<S, N, 1>(simd, weights, row_len, factors, column, attended);
            column += S::F32_LANES;
        }
        while column < self.size {
            self.mix::<Scalar, N, 1>(Scalar, weights, row_len, factors, column, attended);
            column += 1;
        }
    }

    /// Adds the products of queries and keys over `columns`, a multiple of the vector's length, to the scores.
    #[inline(always)]
    fn add_scores<S: Simd, const N: usize>(
        &self,
        simd: S,
        queries: &[&[f32]; N],
        columns: Range<usize>,
        scores: &mut [f32],
        row_len: usize,
    ) {
        if columns.is_empty() {
            return;
        }
        let mut query_vectors: [&[S::f32s]; N] = [&[]; N];
        for (vectors, query) in query_vectors.iter_mut().zip(queries) {
            *vectors = S::as_simd_f32s(&query[columns.clone()]).0;
        }
        // The optimizer sees that all slices have the same length, and omits checks inside the loop.
        let count = columns.len() / S::F32_LANES;
        for query in &mut query_vectors {
            *query = &query[..count];
        }
        let mut keys = self.keys.chunks_exact(self.size);
        let mut index = 0;
        while keys.len() >= KEYS {
            let mut next = || match keys.next() {
                Some(key) => &S::as_simd_f32s(&key[columns.clone()]).0[..count],
                None => &[],
            };
            let group = [next(), next(), next(), next()];
            for (n, products) in products::<S, N, KEYS>(simd, query_vectors, group)
                .iter()
                .enumerate()
            {
                let scores = &mut scores[n * row_len + index..][..KEYS];
                for (score, product) in scores.iter_mut().zip(products) {
                    *score += product;
                }
            }
            index += KEYS;
        }
        for key in keys {
            let key = [&S::as_simd_f32s(&key[columns.clone()]).0[..count]];
            for (n, [product]) in products::<S, N, 1>(simd, query_vectors, key).iter().enumerate() {
                scores[n * row_len + index] += product;
            }
            index += 1;
        }
    }

    /// Computes `C` vectors of the results from `column` on: the weighted sums of the values, times the query's factor.
    #[inline(always)]
    fn mix<S: Simd, const N: usize, const C: usize>(
        &self,
        simd: S,
        weights: &[f32],
        row_len: usize,
        factors: [f32; N],
        column: usize,
        attended: &mut [&mut [f32]],
    ) {
        let columns = column..column + C * S::F32_LANES;
        let mut sums = [[simd.splat_f32s(0.0); C]; N];
        let length = self.values.len() / self.size;
        let mut rows: [&[f32]; N] = [&[]; N];
        for (row, weights) in rows.iter_mut().zip(weights.chunks_exact(row_len)) {
            *row = &weights[..length];
        }
        for (index, value) in self.values.chunks_exact(self.size).enumerate() {
            let value = &S::as_simd_f32s(&value[columns.clone()]).0[..C];
            for n in 0..N {
                let weight = simd.splat_f32s(rows[n][index]);
                for c in 0..C {
                    sums[n][c] = simd.mul_add_e_f32s(weight, value[c], sums[n][c]);
                }
            }
        }
        for ((sums, factor), attended) in sums.iter().zip(factors).zip(attended) {
            let factor = simd.splat_f32s(factor);
            let attended = S::as_mut_simd_f32s(&mut attended[columns.clone()]).0;
            for (attended, &sum) in attended.iter_mut().zip(sums) {
                *attended = simd.mul_f32s(sum, factor);
            }
        }
    }
}

/// Returns the product of each query with each key; all have the same number of vectors.
///
/// Arrays are filled by loops, since closures of `std::array` functions are not compiled for the vectors' target features.
#[inline(always)]
fn products<S: Simd, const N: usize, const M: usize>(
    simd: S,
    queries: [&[S::f32s]; N],
    keys: [&[S::f32s]; M],
) -> [[f32; M]; N] {
    let mut sums = [[simd.splat_f32s(0.0); M]; N];
    for i in 0..keys[0].len() {
        for m in 0..M {
            for n in 0..N {
                sums[n][m] = simd.mul_add_e_f32s(queries[n][i], keys[m][i], sums[n][m]);
            }
        }
    }
    let mut products = [[0.0; M]; N];
    for n in 0..N {
        for m in 0..M {
            products[n][m] = simd.reduce_sum_f32s(sums[n][m]);
        }
    }
    products
}

/// Replaces scores by `exp(scale · (score − largest score))` and returns their sum. The length is a multiple of the
/// vector length.
#[inline(always)]
fn softmax_numerators<S: Simd>(simd: S, scores: &mut [f32], scale: f32) -> f32 {
    let scores = S::as_mut_simd_f32s(scores).0;
    let mut largest = simd.splat_f32s(f32::NEG_INFINITY);
    for &score in scores.iter() {
        largest = simd.max_f32s(largest, score);
    }
    let largest = simd.splat_f32s(simd.reduce_max_f32s(largest));
    let scale = simd.splat_f32s(scale);
    let mut sum = simd.splat_f32s(0.0);
    for score in scores {
        *score = exp(simd, simd.mul_f32s(simd.sub_f32s(*score, largest), scale));
        sum = simd.add_f32s(sum, *score);
    }
    simd.reduce_sum_f32s(sum)
}

#[cfg(test)]
mod tests {
    use pulp::Arch;

    use super::super::reference::{assert_close, attention, noise};
    use super::*;

    fn attend(arch: Arch, queries: &[f32], [keys, values]: [&[f32]; 2], size: usize) -> Vec<f32> {
        let mut attended = vec![f32::NAN; queries.len()];
        arch.dispatch(Head {
            keys,
            values,
            size,
            queries: queries.chunks(size).collect(),
            attended: attended.chunks_mut(size).collect(),
        });
        attended
    }

    #[test]
    fn any_size_is_computed_as_defined_with_vectors_and_without() {
        // Sizes of heads that no vector divides; fewer and more keys and queries than are computed together.
        for size in [5, 8, 24, 64, 70] {
            for length in [1, 3, 4, 18, 65] {
                let (keys, values) = (noise(length * size, 1), noise(length * size, 2));
                for (queries, arch) in (1..=6).flat_map(|n| [Arch::new(), Arch::Scalar].map(|arch| (n, arch)))
                {
                    // Large enough for some keys to have no weight.
                    let query: Vec<f32> = noise(queries * size, 3).iter().map(|x| x * 20.0).collect();
                    let attended = attend(arch, &query, [&keys, &values], size);
                    let reference = query
                        .chunks(size)
                        .flat_map(|query| attention(query, &keys, &values));
                    let what = format!("{queries} queries of {size}, {length} keys, {arch:?}");
                    assert_close(&attended, &reference.collect::<Vec<_>>(), 5e-6, &what);
                }
            }
        }
    }

    #[test]
    fn nan_is_propagated() {
        let (size, length) = (24, 18);
        let inputs = [
            noise(4 * size, 3),
            noise(length * size, 1),
            noise(length * size, 2),
        ];
        let nans = [f32::NAN, f32::INFINITY, f32::from_bits(0xffff_ffff)];
        for (which, nan) in (0..3).flat_map(|which| nans.map(|nan| (which, nan))) {
            let mut inputs = inputs.clone();
            inputs[which][7] = nan;
            let [queries, keys, values] = &inputs;
            for arch in [Arch::new(), Arch::Scalar] {
                let attended = attend(arch, queries, [keys, values], size);
                assert!(!attended[7].is_finite(), "{nan} in input {which}, {arch:?}");
            }
        }
    }

    #[test]
    fn a_querys_result_does_not_depend_on_others() {
        let (size, length) = (64, 83);
        let (keys, values) = (noise(length * size, 1), noise(length * size, 2));
        let queries = noise(6 * size, 3);
        let together = attend(Arch::new(), &queries, [&keys, &values], size);
        for (query, together) in queries.chunks(size).zip(together.chunks(size)) {
            assert_eq!(attend(Arch::new(), query, [&keys, &values], size), together);
        }
    }
}
