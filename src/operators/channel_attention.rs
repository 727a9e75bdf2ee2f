//! `ChannelAttention`: attention among the channels of each group, over tokens.

use florence2_layout::operators::CHANNEL_ATTENTION;
use ort::operator::{ComputeContext, Kernel, KernelContext};
use ort::value::TensorElementType::{self, Float32};
use pulp::{Arch, Simd, WithSimd};

use super::custom::CustomOperator;
use super::matrix_product::{Matrix, Product};
use super::{parallel, query_key_value, tensors};

/// The maximum number of pieces of work per image: enough for the threads of most CPUs. Each piece has its own scores, which
/// are added in order, so results do not depend on the threads.
const PIECES: usize = 32;
/// The minimum number of tokens of a piece.
const PIECE_TOKENS: usize = 128;
/// Tokens computed at a time for all groups: few enough to stay in the CPU's cache.
const TOKENS: usize = 32;

/// | | | |
/// |---|---|---|
/// | inputs | `query`, `key`, `value` | `[batch, tokens, groups · size]` each |
/// | attributes | `groups` | |
/// | outputs | `attended` | `value · softmax(queryᵀ · key / √tokens)ᵀ` of each group, shaped as `query` |
///
/// All are 32-bit floats. The softmax is over the key's channels.
pub(super) struct ChannelAttention {
    arch: Arch,
    groups: usize,
}

impl CustomOperator for ChannelAttention {
    const NAME: &str = CHANNEL_ATTENTION;
    const INPUTS: &[TensorElementType] = &[Float32; 3];
    const OUTPUTS: &[usize] = &[0];

    fn new(context: &KernelContext<'_>) -> ort::Result<Self> {
        Ok(Self {
            arch: Arch::new(),
            groups: tensors::count(context, "groups")?,
        })
    }
}

impl Kernel for ChannelAttention {
    fn compute(&mut self, context: &ComputeContext) -> ort::Result<()> {
        let count = self.groups;
        query_key_value::compute(
            context,
            count,
            |[_, tokens, width], [query, key, value], attended| {
                let groups = Groups {
                    tokens,
                    count,
                    size: width / count,
                };
                let mut scores = groups.scores(query.len());
                let pieces = groups.scoring(query, key, &mut scores);
                parallel::for_each(context, pieces, |piece| self.arch.dispatch(piece))?;
                let mut probabilities = groups.probabilities(query.len());
                let softmaxes = groups.softmaxes(&scores, &mut probabilities);
                parallel::for_each(context, softmaxes, Softmax::compute)?;
                let pieces = groups.mixing(value, &probabilities, attended);
                parallel::for_each(context, pieces, |piece| self.arch.dispatch(piece))
            },
        )
    }
}

/// The division of tensors `[batch, tokens, count · size]` into pieces of work.
#[derive(Debug, Clone, Copy)]
struct Groups {
    tokens: usize,
    count: usize,
    size: usize,
}

impl Groups {
    fn width(self) -> usize {
        self.count * self.size
    }

    /// Returns the number of values of an image.
    fn image_len(self) -> usize {
        self.tokens * self.width()
    }

    /// Returns the number of values of a piece; the last may have fewer.
    fn piece_len(self) -> usize {
        self.tokens.div_ceil(PIECES).max(PIECE_TOKENS) * self.width()
    }

    fn pieces_of_image(self) -> usize {
        self.image_len().div_ceil(self.piece_len())
    }

    /// Returns the number of scores of a piece or an image: `[count, size, size]`.
    fn scores_len(self) -> usize {
        self.width() * self.size
    }

    /// Allocates the scores of all pieces of tensors with `len` values.
    fn scores(self, len: usize) -> Vec<f32> {
        vec![0.0; len / self.image_len() * self.pieces_of_image() * self.scores_len()]
    }

    /// Allocates the probabilities of all images of tensors with `len` values.
    fn probabilities(self, len: usize) -> Vec<f32> {
        vec![0.0; len / self.image_len() * self.scores_len()]
    }

    fn scoring<'a>(
        self,
        query: &'a [f32],
        key: &'a [f32],
        scores: &'a mut [f32],
    ) -> impl Iterator<Item = Scoring<'a>> {
        let pieces = self.pieces(query).zip(self.pieces(key));
        let pieces = pieces.zip(scores.chunks_exact_mut(self.scores_len()));
        pieces.map(move |((query, key), scores)| Scoring {
            groups: self,
            query,
            key,
            scores,
        })
    }

    fn softmaxes<'a>(
        self,
        scores: &'a [f32],
        probabilities: &'a mut [f32],
    ) -> impl Iterator<Item = Softmax<'a>> {
        let images = scores.chunks_exact(self.pieces_of_image() * self.scores_len());
        let images = images.zip(probabilities.chunks_exact_mut(self.scores_len()));
        images.flat_map(move |(scores, probabilities)| {
            let groups = probabilities.chunks_exact_mut(self.size * self.size).enumerate();
            groups.map(move |(group, probabilities)| Softmax {
                groups: self,
                group,
                scores,
                probabilities,
            })
        })
    }

    fn mixing<'a>(
        self,
        value: &'a [f32],
        probabilities: &'a [f32],
        attended: &'a mut [f32],
    ) -> impl Iterator<Item = Mixing<'a>> {
        let attended = attended
            .chunks_exact_mut(self.image_len())
            .flat_map(move |image| image.chunks_mut(self.piece_len()));
        let pieces = self.pieces(value).zip(attended).enumerate();
        pieces.map(move |(index, (value, attended))| Mixing {
            groups: self,
            value,
            probabilities: &probabilities[index / self.pieces_of_image() * self.scores_len()..]
                [..self.scores_len()],
            attended,
        })
    }

    fn pieces(self, values: &[f32]) -> impl Iterator<Item = &[f32]> {
        let images = values.chunks_exact(self.image_len());
        images.flat_map(move |image| image.chunks(self.piece_len()))
    }
}

/// The computation of a piece's scores.
struct Scoring<'a> {
    groups: Groups,
    /// `[tokens of the piece, count · size]`, as is `key`.
    query: &'a [f32],
    key: &'a [f32],
    /// Zeros, `[count, size, size]`: for each query channel (row), over the key channels.
    scores: &'a mut [f32],
}

impl WithSimd for Scoring<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Groups { size, .. } = self.groups;
        let width = self.groups.width();
        let tokens = self.query.chunks(TOKENS * width);
        for (query, key) in tokens.zip(self.key.chunks(TOKENS * width)) {
            for (group, scores) in self.scores.chunks_exact_mut(size * size).enumerate() {
                let product = Product {
                    left: Matrix::of_rows(&query[group * size..], width).transposed(),
                    right: &key[group * size..],
                    right_stride: width,
                    rows: size,
                    depth: query.len() / width,
                    columns: size,
                };
                product.add_to(simd, scores, size);
            }
        }
    }
}

/// The computation of the probabilities of a group of an image.
struct Softmax<'a> {
    groups: Groups,
    group: usize,
    /// The scores of all pieces of the image, `[pieces, count, size, size]`.
    scores: &'a [f32],
    /// `[size, size]`: for each key channel (row), over the query channels.
    probabilities: &'a mut [f32],
}

impl Softmax<'_> {
    fn compute(self) {
        let Groups { tokens, size, .. } = self.groups;
        let mut scores = vec![0.0; size * size];
        for piece in self.scores.chunks_exact(self.groups.scores_len()) {
            let piece = &piece[self.group * size * size..][..size * size];
            for (sum, score) in scores.iter_mut().zip(piece) {
                *sum += score;
            }
        }
        let scale = (tokens as f32).sqrt().recip();
        for (query, scores) in scores.chunks_exact_mut(size).enumerate() {
            let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            for score in scores.iter_mut() {
                *score = ((*score - largest) * scale).exp();
            }
            let factor = scores.iter().sum::<f32>().recip();
            let column = self.probabilities[query..].iter_mut().step_by(size);
            for (probability, score) in column.zip(scores) {
                *probability = *score * factor;
            }
        }
    }
}

/// The computation of a piece's results.
struct Mixing<'a> {
    groups: Groups,
    /// `[tokens of the piece, count · size]`, as is `attended`.
    value: &'a [f32],
    /// `[count, size, size]`: for each key channel (row), over the query channels.
    probabilities: &'a [f32],
    attended: &'a mut [f32],
}

impl WithSimd for Mixing<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Groups { size, .. } = self.groups;
        let width = self.groups.width();
        let tokens = self.value.chunks(TOKENS * width);
        for (value, attended) in tokens.zip(self.attended.chunks_mut(TOKENS * width)) {
            attended.fill(0.0);
            for (group, probabilities) in self.probabilities.chunks_exact(size * size).enumerate() {
                let product = Product {
                    left: Matrix::of_rows(&value[group * size..], width),
                    right: probabilities,
                    right_stride: size,
                    rows: value.len() / width,
                    depth: size,
                    columns: size,
                };
                product.add_to(simd, &mut attended[group * size..], width);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::reference::{assert_close, noise};
    use super::*;

    /// Computes one image by definition in 64 bits.
    fn reference(groups: Groups, [query, key, value]: [&[f32]; 3]) -> Vec<f64> {
        let (width, size) = (groups.width(), groups.size);
        let at = |values: &[f32], token: usize, channel: usize| f64::from(values[token * width + channel]);
        let mut attended = vec![0.0; value.len()];
        for channel in 0..width {
            let channels = channel / size * size..(channel / size + 1) * size;
            let scores = channels.clone().map(|other| {
                let products = (0..groups.tokens).map(|t| at(query, t, channel) * at(key, t, other));
                (products.sum::<f64>() / (groups.tokens as f64).sqrt()).exp()
            });
            let scores: Vec<f64> = scores.collect();
            for token in 0..groups.tokens {
                let parts = channels.clone().zip(&scores);
                let sum: f64 = parts.map(|(other, score)| at(value, token, other) * score).sum();
                attended[token * width + channel] = sum / scores.iter().sum::<f64>();
            }
        }
        attended
    }

    fn attend(arch: Arch, groups: Groups, [query, key, value]: [&[f32]; 3]) -> Vec<f32> {
        let mut attended = vec![f32::NAN; query.len()];
        let mut scores = groups.scores(query.len());
        groups
            .scoring(query, key, &mut scores)
            .for_each(|piece| arch.dispatch(piece));
        let mut probabilities = groups.probabilities(query.len());
        groups
            .softmaxes(&scores, &mut probabilities)
            .for_each(Softmax::compute);
        groups
            .mixing(value, &probabilities, &mut attended)
            .for_each(|piece| arch.dispatch(piece));
        attended
    }

    #[test]
    fn any_size_is_computed_as_defined_with_vectors_and_without() {
        // Sizes that no vector divides; tokens of one piece, of several, and of a part of one.
        let cases = [1, 5, 8, 21, 32, 70]
            .into_iter()
            .flat_map(|size| [1, 9, 36, 300].map(|tokens| (size, tokens)));
        for (size, tokens) in cases {
            let groups = Groups {
                tokens,
                count: 3,
                size,
            };
            let len = 2 * groups.image_len();
            let inputs = [1, 2, 3].map(|seed| noise(len, seed));
            let [query, key, value] = &inputs;
            for arch in [Arch::new(), Arch::Scalar] {
                let attended = attend(arch, groups, [query, key, value]);
                let image = groups.image_len();
                let reference: Vec<f64> = (0..2)
                    .flat_map(|index| {
                        let inputs = [0, 1, 2].map(|input| &inputs[input][index * image..][..image]);
                        reference(groups, inputs)
                    })
                    .collect();
                let what = format!("{tokens} tokens, groups of {size}, {arch:?}");
                assert_close(&attended, &reference, 2e-6, &what);
            }
        }
    }

    #[test]
    fn nan_is_propagated() {
        let nans = [f32::NAN, f32::INFINITY, f32::from_bits(0xffff_ffff)];
        // Channels of whole vectors, and of a part of one.
        for (size, channel) in [32, 21]
            .into_iter()
            .flat_map(|size| [0, size - 1].map(|channel| (size, channel)))
        {
            let groups = Groups {
                tokens: 9,
                count: 2,
                size,
            };
            for (which, nan) in (0..3).flat_map(|which| nans.map(|nan| (which, nan))) {
                let mut inputs = [1, 2, 3].map(|seed| noise(groups.image_len(), seed));
                inputs[which][4 * groups.width() + channel] = nan;
                let inputs = inputs.each_ref().map(Vec::as_slice);
                for arch in [Arch::new(), Arch::Scalar] {
                    let attended = attend(arch, groups, inputs);
                    let found = &attended[4 * groups.width()..][..size];
                    assert!(
                        found.iter().any(|x| !x.is_finite()),
                        "{nan} in input {which}, channel {channel} of {size}, {arch:?}"
                    );
                }
            }
        }
    }
}
