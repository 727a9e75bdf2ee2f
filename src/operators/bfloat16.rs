//! Attention of one head in bfloat16, on CPUs with `avx512_bf16`.
//!
//! The instruction multiplies pairs: each 32-bit lane adds two products, of adjacent values of either factor, to a 32-bit
//! float. So rows of the first factor are pairs along the summed axis, and the second factor is packed in panels, in which a
//! vector has the pairs of 16 columns.

use std::arch::x86_64::{
    __m512, __m512bh, __m512i, _mm512_add_ps, _mm512_cvtne2ps_pbh, _mm512_dpbf16_ps, _mm512_fmadd_ps,
    _mm512_max_ps, _mm512_reduce_add_ps, _mm512_reduce_max_ps, _mm512_roundscale_ps, _mm512_scalef_ps,
    _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ps, _mm512_sub_ps,
};
use std::f32::consts::LOG2_E;
use std::mem::transmute;

/// 32-bit lanes of a vector.
const LANES: usize = 16;
/// Rows that are multiplied together: `ROWS · VECTORS` sums fit into the registers.
const ROWS: usize = 6;
/// The maximum number of vectors of a panel.
const VECTORS: usize = 4;
/// The binary logarithm to which smaller probabilities are clamped.
const LOWEST: f32 = -120.0;
/// `2^f` for `0 ≤ f < 1`, from the cube down: the cubic with the least relative error, 7.5e-5 (by Remez' algorithm).
/// Rounding to bfloat16 changes values by up to 2e-3.
const EXP2: [f32; 4] = [0.078_024_52, 0.226_067_16, 0.695_833_54, 0.999_925_2];
/// `_mm512_roundscale_ps`: keeps no fractional bits, rounds down.
const FLOOR: i32 = 1;

/// Pairs of bfloat16, the first in the lower half.
#[derive(Debug, Clone, Copy, Default)]
#[repr(align(64))]
struct Pairs([u32; LANES]);

#[derive(Debug, Clone, Copy, Default)]
#[repr(align(64))]
struct Floats([f32; LANES]);

impl Pairs {
    #[inline(always)]
    fn load(self) -> __m512bh {
        // SAFETY: both types are 64 bytes and valid for any bits.
        unsafe { transmute::<[u32; LANES], __m512bh>(self.0) }
    }

    #[inline(always)]
    fn store(vector: __m512bh) -> Self {
        // SAFETY: both types are 64 bytes and valid for any bits.
        Self(unsafe { transmute::<__m512bh, [u32; LANES]>(vector) })
    }
}

impl Floats {
    #[inline(always)]
    fn load(self) -> __m512 {
        // SAFETY: both types are 64 bytes and valid for any bits.
        unsafe { transmute::<[f32; LANES], __m512>(self.0) }
    }

    #[inline(always)]
    fn store(vector: __m512) -> Self {
        // SAFETY: both types are 64 bytes and valid for any bits.
        Self(unsafe { transmute::<__m512, [f32; LANES]>(vector) })
    }
}

/// A head's tokens: `size` values each, `stride` apart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tokens<'a> {
    pub(super) values: &'a [f32],
    pub(super) stride: usize,
    pub(super) size: usize,
}

impl<'a> Tokens<'a> {
    fn iter(self) -> impl ExactSizeIterator<Item = &'a [f32]> {
        self.values
            .chunks(self.stride)
            .map(move |token| &token[..self.size])
    }
}

/// Buffers for one head at a time.
#[derive(Debug, Default)]
pub(super) struct Head {
    /// Panels over tokens; pairs are of columns.
    keys: Panels,
    /// Panels over columns; pairs are of tokens.
    values: Panels,
    /// `[ROWS, pairs of columns]`
    queries: Vec<u32>,
    /// `[ROWS, vectors of tokens]`
    scores: Vec<Floats>,
    /// `[ROWS, pairs of vectors of tokens]`
    probabilities: Vec<Pairs>,
    /// `[ROWS, vectors of columns]`
    results: Vec<Floats>,
}

/// Returns whether the CPU has the instructions of [`Head::attend`].
pub(super) fn is_supported() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512bf16")
}

impl Head {
    /// Computes `softmax(query · keyᵀ / √size) · value`. Key and value have the same number of tokens, at least 1;
    /// `attended` has a slice of `size` values for each token of the query.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    pub(super) fn attend<'o>(
        &mut self,
        [query, key, value]: [Tokens<'_>; 3],
        attended: impl Iterator<Item = &'o mut [f32]>,
    ) {
        let (tokens, columns) = (key.iter().len(), query.size);
        let pairs = columns.div_ceil(2);
        let token_vectors = tokens.div_ceil(LANES);
        self.keys.pack_rows(key, pairs, token_vectors);
        self.values
            .pack_columns(value, tokens.div_ceil(2), columns.div_ceil(LANES));
        self.scores.resize(ROWS * token_vectors, Floats::default());
        self.probabilities
            .resize(ROWS * token_vectors.div_ceil(2), Pairs::default());
        self.results.resize(ROWS * self.values.vectors, Floats::default());
        // Includes log₂ e: exponentials are computed as powers of 2.
        let scale = LOG2_E / (columns as f32).sqrt();

        let mut queries = query.iter();
        let mut attended = attended;
        loop {
            self.queries.clear();
            for query in queries.by_ref().take(ROWS) {
                push_pairs(query, scale, &mut self.queries);
            }
            if self.queries.is_empty() {
                return;
            }
            self.queries.resize(ROWS * pairs, 0);
            self.keys.multiply(&self.queries, &mut self.scores);
            let mut factors = [0.0; ROWS];
            let rows = self.scores.chunks_exact_mut(token_vectors);
            let rows = rows.zip(self.probabilities.chunks_exact_mut(token_vectors.div_ceil(2)));
            for (factor, (scores, probabilities)) in factors.iter_mut().zip(rows) {
                if let (Some(last), rest @ 1..) = (scores.last_mut(), tokens % LANES) {
                    last.0[rest..].fill(f32::NEG_INFINITY);
                }
                *factor = 1.0 / softmax_numerators(scores, probabilities);
            }
            self.values
                .multiply(pairs_of(&self.probabilities), &mut self.results);
            let results = self.results.chunks_exact(self.values.vectors).zip(factors);
            for ((results, factor), attended) in results.zip(attended.by_ref()) {
                let (whole, rest) = attended.as_chunks_mut::<LANES>();
                for (attended, result) in whole.iter_mut().zip(results) {
                    scale_to(attended, &result.0, factor);
                }
                if let Some(result) = results.get(whole.len()) {
                    scale_to(rest, &result.0, factor);
                }
            }
        }
    }
}

#[inline(always)]
fn scale_to(scaled: &mut [f32], values: &[f32], factor: f32) {
    for (scaled, value) in scaled.iter_mut().zip(values) {
        *scaled = value * factor;
    }
}

fn pairs_of(vectors: &[Pairs]) -> &[u32] {
    // SAFETY: vectors are arrays of LANES pairs without gaps.
    unsafe { std::slice::from_raw_parts(vectors.as_ptr().cast(), vectors.len() * LANES) }
}

/// The second factor of a product, packed as `[panel][pair along the summed axis][vector of columns]`. All panels but the
/// last have [`VECTORS`] vectors.
#[derive(Debug, Default)]
struct Panels {
    packed: Vec<Pairs>,
    /// Pairs along the summed axis.
    depth: usize,
    vectors: usize,
}

impl Panels {
    fn reset(&mut self, depth: usize, vectors: usize) {
        *self = Self {
            packed: std::mem::take(&mut self.packed),
            depth,
            vectors,
        };
        self.packed.clear();
        self.packed.resize(depth * vectors, Pairs::default());
    }

    /// Returns the start of the panel that contains `vector`, and the panel's number of vectors.
    fn panel(&self, vector: usize) -> (usize, usize) {
        let first = vector / VECTORS * VECTORS;
        (first * self.depth, (self.vectors - first).min(VECTORS))
    }

    /// Packs tokens as the product's columns.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    fn pack_rows(&mut self, tokens: Tokens<'_>, depth: usize, vectors: usize) {
        self.reset(depth, vectors);
        let mut pairs = Vec::with_capacity(depth);
        for (index, token) in tokens.iter().enumerate() {
            pairs.clear();
            push_pairs(token, 1.0, &mut pairs);
            let (vector, lane) = (index / LANES, index % LANES);
            let (start, width) = self.panel(vector);
            let slots = self.packed[start + vector % VECTORS..].iter_mut().step_by(width);
            for (slot, &pair) in slots.zip(&pairs) {
                slot.0[lane] = pair;
            }
        }
    }

    /// Packs the tokens' columns as the product's columns.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    fn pack_columns(&mut self, tokens: Tokens<'_>, depth: usize, vectors: usize) {
        self.reset(depth, vectors);
        let mut rows = tokens.iter();
        for pair in 0..depth {
            let (first, second) = (rows.next().unwrap_or_default(), rows.next().unwrap_or_default());
            for (vector, first) in first.chunks(LANES).enumerate() {
                let (start, width) = self.panel(vector);
                let slot = &mut self.packed[start + pair * width + vector % VECTORS];
                for (pair, &first) in slot.0.iter_mut().zip(first) {
                    *pair = rounded(first) >> 16;
                }
                let second = second.get(vector * LANES..).unwrap_or_default();
                for (pair, &second) in slot.0.iter_mut().zip(second) {
                    *pair |= rounded(second) & 0xffff_0000;
                }
            }
        }
    }

    /// Multiplies the first `depth` pairs of `rows`, `[ROWS, row_len]`, by the panels: `[ROWS, vectors]`.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    fn multiply(&self, rows: &[u32], product: &mut [Floats]) {
        for first in (0..self.vectors).step_by(VECTORS) {
            let (start, width) = self.panel(first);
            let panel = &self.packed[start..][..self.depth * width];
            let product = &mut product[first..];
            match width {
                1 => multiply_panel::<1>(rows, self.depth, panel, product, self.vectors),
                2 => multiply_panel::<2>(rows, self.depth, panel, product, self.vectors),
                3 => multiply_panel::<3>(rows, self.depth, panel, product, self.vectors),
                _ => multiply_panel::<VECTORS>(rows, self.depth, panel, product, self.vectors),
            }
        }
    }
}

/// [`Panels::multiply`] of one panel of `C` vectors; rows of the product are `stride` apart.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn multiply_panel<const C: usize>(
    rows: &[u32],
    depth: usize,
    panel: &[Pairs],
    product: &mut [Floats],
    stride: usize,
) {
    let row_len = rows.len() / ROWS;
    let row = |index: usize| &rows[index * row_len..][..depth];
    // The compiler would turn a loop into scattered stores, which take longer than the product.
    let row_pairs: [&[u32]; ROWS] = [row(0), row(1), row(2), row(3), row(4), row(5)];
    let panel = &panel.as_chunks::<C>().0[..depth];
    let mut sums = [[_mm512_setzero_ps(); C]; ROWS];
    for (k, vectors) in panel.iter().enumerate() {
        for r in 0..ROWS {
            let pair = broadcast(row_pairs[r][k]);
            for c in 0..C {
                sums[r][c] = _mm512_dpbf16_ps(sums[r][c], pair, vectors[c].load());
            }
        }
    }
    for (r, sums) in sums.iter().enumerate() {
        for (c, &sum) in sums.iter().enumerate() {
            product[r * stride + c] = Floats::store(sum);
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn broadcast(pair: u32) -> __m512bh {
    // SAFETY: both types are 64 bytes and valid for any bits.
    unsafe { transmute::<__m512i, __m512bh>(_mm512_set1_epi32(pair.cast_signed())) }
}

/// Computes `2^(score − largest score)` of each score and returns their sum.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn softmax_numerators(scores: &[Floats], probabilities: &mut [Pairs]) -> f32 {
    let mut largest = _mm512_set1_ps(f32::NEG_INFINITY);
    for score in scores {
        largest = _mm512_max_ps(largest, score.load());
    }
    let largest = _mm512_set1_ps(_mm512_reduce_max_ps(largest));
    let (pairs, rest) = scores.as_chunks::<2>();
    let mut sums = [_mm512_setzero_ps(); 2];
    let (last, probabilities) = match rest {
        [] => (None, probabilities),
        [single, ..] => match probabilities.split_last_mut() {
            Some((last, probabilities)) => (Some((single, last)), probabilities),
            None => (None, probabilities),
        },
    };
    for ([first, second], probabilities) in pairs.iter().zip(probabilities) {
        let first = exp2(_mm512_sub_ps(first.load(), largest));
        let second = exp2(_mm512_sub_ps(second.load(), largest));
        sums[0] = _mm512_add_ps(sums[0], first);
        sums[1] = _mm512_add_ps(sums[1], second);
        *probabilities = Pairs::store(_mm512_cvtne2ps_pbh(second, first));
    }
    if let Some((score, probabilities)) = last {
        let only = exp2(_mm512_sub_ps(score.load(), largest));
        sums[0] = _mm512_add_ps(sums[0], only);
        *probabilities = Pairs::store(_mm512_cvtne2ps_pbh(_mm512_setzero_ps(), only));
    }
    _mm512_reduce_add_ps(_mm512_add_ps(sums[0], sums[1]))
}

/// Returns `2^x`, to 13 bits; for NaN, NaN.
#[inline]
#[target_feature(enable = "avx512f")]
fn exp2(x: __m512) -> __m512 {
    // If one is NaN, the second is returned.
    let x = _mm512_max_ps(_mm512_set1_ps(LOWEST), x);
    let fraction = _mm512_sub_ps(x, _mm512_roundscale_ps::<FLOOR>(x));
    let [cubic, square, linear, constant] = EXP2;
    let mut power = _mm512_set1_ps(cubic);
    for coefficient in [square, linear, constant] {
        power = _mm512_fmadd_ps(power, fraction, _mm512_set1_ps(coefficient));
    }
    // It rounds x down itself.
    _mm512_scalef_ps(power, x)
}

/// Appends the pairs of `values · factor`; a single last value is paired with 0.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn push_pairs(values: &[f32], factor: f32, pairs: &mut Vec<u32>) {
    let (two, rest) = values.as_chunks::<2>();
    let pair =
        |first: f32, second: f32| rounded(first * factor) >> 16 | rounded(second * factor) & 0xffff_0000;
    pairs.extend(two.iter().map(|&[first, second]| pair(first, second)));
    pairs.extend(rest.iter().map(|&last| pair(last, 0.0)));
}

/// Returns bits whose upper half is the nearest bfloat16.
#[inline(always)]
fn rounded(value: f32) -> u32 {
    if value.is_nan() {
        // Rounding up could turn it into a number.
        return f32::NAN.to_bits();
    }
    let bits = value.to_bits();
    // Ties round to even.
    bits.wrapping_add(0x7fff + (bits >> 16 & 1))
}

#[cfg(test)]
mod tests;
