//! Weights of 8 bits, `weight ≈ (values − zero points) · scales`, with a scale and a zero point for each channel.

use crate::graph::Element;
use crate::tensor::Tensor;

/// A type of bytes, and how floats are counted in it.
pub(crate) trait Byte: Element {
    /// What it is called in the names of tensors.
    const NAME: &'static str;

    /// How values from `least` to `greatest`, 0 being among them, are counted.
    fn counting(least: f32, greatest: f32) -> Counting;

    /// A count, rounded.
    fn from_count(count: f32) -> Self;
}

/// How the values of a channel are counted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counting {
    /// The value of one; never 0.
    scale: f32,
    /// The count of a value of 0.
    zero: f32,
}

/// Symmetric: the largest magnitude is 127, and 0 is 0.
impl Byte for i8 {
    const NAME: &'static str = "int8";

    fn counting(least: f32, greatest: f32) -> Counting {
        let largest = greatest.max(-least).max(f32::MIN_POSITIVE * 127.0);
        Counting {
            scale: largest / 127.0,
            zero: 0.0,
        }
    }

    fn from_count(count: f32) -> Self {
        count.round() as i8
    }
}

/// The least value is 0, the greatest 255.
impl Byte for u8 {
    const NAME: &'static str = "uint8";

    fn counting(least: f32, greatest: f32) -> Counting {
        let scale = (greatest - least).max(f32::MIN_POSITIVE * 255.0) / 255.0;
        Counting {
            scale,
            zero: (-least / scale).round(),
        }
    }

    fn from_count(count: f32) -> Self {
        count.round() as u8
    }
}

/// What of a matrix is a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Channels {
    Rows,
    Columns,
}

/// A matrix of bytes.
pub(crate) struct ByteWeight<'a, B> {
    /// As the matrix.
    pub(crate) values: Tensor<'a, B>,
    /// `[channels]`.
    pub(crate) scales: Tensor<'a>,
    /// `[channels]`.
    pub(crate) zero_points: Tensor<'a, B>,
}

/// A matrix in bytes.
pub(crate) fn byte_weight<'a, B: Byte>(weight: &Tensor<'a>, channels: Channels) -> ByteWeight<'a, B> {
    let shape = weight.shape().to_vec();
    let columns = shape.last().copied().unwrap_or_default().max(1);
    let count = match channels {
        Channels::Rows => weight.len() / columns,
        Channels::Columns => columns,
    };
    let channel_of = move |index: usize| match channels {
        Channels::Rows => index / columns,
        Channels::Columns => index % columns,
    };
    let countings = move |values: &[f32]| {
        let mut ranges = vec![(0f32, 0f32); count];
        for (index, &value) in values.iter().enumerate() {
            if let Some((least, greatest)) = ranges.get_mut(channel_of(index)) {
                (*least, *greatest) = (least.min(value), greatest.max(value));
            }
        }
        let countings = ranges
            .into_iter()
            .map(|(least, greatest)| B::counting(least, greatest));
        countings.collect::<Vec<Counting>>()
    };
    let (values, scales) = (B::NAME.to_owned(), format!("{}_scale", B::NAME));
    ByteWeight {
        values: weight.derived(&values, shape, move |values| {
            let countings = countings(&values);
            let counted = values.iter().enumerate().map(|(index, value)| {
                let Counting { scale, zero } = countings[channel_of(index)];
                B::from_count((value / scale).round() + zero)
            });
            counted.collect()
        }),
        scales: weight.derived(&scales, [count], move |values| {
            countings(&values).iter().map(|counting| counting.scale).collect()
        }),
        zero_points: weight.derived(&format!("{}_zero", B::NAME), [count], move |values| {
            let countings = countings(&values);
            countings
                .iter()
                .map(|counting| B::from_count(counting.zero))
                .collect()
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `[2, 3]`.
    fn weight() -> Tensor<'static> {
        Tensor::new("w", [2, 3], || vec![1.0, -2.0, 0.0, 4.0, 0.5, 0.0])
    }

    fn restored<B: Byte + Into<f32>>(channels: Channels) -> Vec<f32> {
        let weight = byte_weight::<B>(&weight(), channels);
        let (scales, zeros) = (weight.scales.values(), weight.zero_points.values());
        let values = weight.values.values();
        let restored = values.into_iter().enumerate().map(|(index, value)| {
            let channel = if channels == Channels::Rows {
                index / 3
            } else {
                index % 3
            };
            (value.into() - zeros[channel].into()) * scales[channel]
        });
        restored.collect()
    }

    #[test]
    fn values_are_restored_to_within_half_a_step_of_their_channel() {
        for (restored, steps) in [
            (restored::<i8>(Channels::Columns), [4.0 / 127.0, 2.0 / 127.0, 0.0]),
            (restored::<u8>(Channels::Columns), [4.0 / 255.0, 2.5 / 255.0, 0.0]),
        ] {
            for (index, (value, restored)) in weight().values().into_iter().zip(&restored).enumerate() {
                let error = (value - restored).abs();
                assert!(
                    error <= 0.51 * steps[index % 3] + 1e-6,
                    "{index}: {value} became {restored}"
                );
            }
        }
        for restored in [restored::<i8>(Channels::Rows), restored::<u8>(Channels::Rows)] {
            for (index, (value, restored)) in weight().values().into_iter().zip(&restored).enumerate() {
                let step = [3.0, 4.0][index / 3] / 127.0;
                assert!(
                    (value - restored).abs() <= 0.51 * step,
                    "{index}: {value} became {restored}"
                );
            }
        }
    }

    #[test]
    fn zero_is_exact_and_the_extremes_are_met() {
        let weight = byte_weight::<u8>(&weight(), Channels::Columns);
        assert_eq!(weight.zero_points.values(), [0, 204, 0]);
        assert_eq!(weight.values.values(), [64, 0, 0, 255, 255, 0]);
        let weight = byte_weight::<i8>(&super::tests::weight(), Channels::Rows);
        assert_eq!(weight.zero_points.values(), [0, 0]);
        assert_eq!(weight.values.values(), [64, -127, 0, 127, 16, 0]);
    }
}
