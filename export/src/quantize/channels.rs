//! Weights of 8 bits, `weight ≈ (values − zero points) · scales`, with a scale and a zero point for each channel.

use crate::graph::Element;
use crate::tensor::Tensor;

/// An integer type of 8 bits, and how ranges of floats are quantized to it.
pub(crate) trait QuantizedType: Element {
    /// The type's name in the names of tensors.
    const NAME: &'static str;
    /// Whether zero points are always 0.
    const IS_SYMMETRIC: bool;

    /// Quantization parameters for the range `min..=max`, which must contain 0.
    fn params(min: f32, max: f32) -> QuantParams;

    /// The nearest value of this type.
    fn from_f32(value: f32) -> Self;
}

/// The quantization parameters of a channel: `quantized = value / scale + zero_point`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct QuantParams {
    /// Never 0.
    scale: f32,
    zero_point: f32,
}

/// Symmetric: the largest magnitude becomes 127, and the zero point is 0.
impl QuantizedType for i8 {
    const NAME: &'static str = "int8";
    const IS_SYMMETRIC: bool = true;

    fn params(min: f32, max: f32) -> QuantParams {
        let largest = max.max(-min).max(f32::MIN_POSITIVE * 127.0);
        QuantParams {
            scale: largest / 127.0,
            zero_point: 0.0,
        }
    }

    fn from_f32(value: f32) -> Self {
        value.round() as i8
    }
}

/// Asymmetric: `min` becomes 0, and `max` 255.
impl QuantizedType for u8 {
    const NAME: &'static str = "uint8";
    const IS_SYMMETRIC: bool = false;

    fn params(min: f32, max: f32) -> QuantParams {
        let scale = (max - min).max(f32::MIN_POSITIVE * 255.0) / 255.0;
        QuantParams {
            scale,
            zero_point: (-min / scale).round(),
        }
    }

    fn from_f32(value: f32) -> Self {
        value.round() as u8
    }
}

/// The axis of a matrix whose elements are channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Axis {
    Rows,
    Columns,
}

/// A quantized matrix.
pub(crate) struct ChannelWeight<'a, Q> {
    /// In the shape of the matrix.
    pub(crate) values: Tensor<'a, Q>,
    /// `[channels]`.
    pub(crate) scales: Tensor<'a>,
    /// `[channels]`.
    pub(crate) zero_points: Tensor<'a, Q>,
}

impl<'a, Q: QuantizedType> ChannelWeight<'a, Q> {
    /// The matrix `weight`, quantized by channel.
    pub(crate) fn new(weight: &Tensor<'a>, channels: Axis) -> Self {
        let shape = weight.shape().to_vec();
        let columns = shape.last().copied().unwrap_or_default().max(1);
        let count = match channels {
            Axis::Rows => weight.len() / columns,
            Axis::Columns => columns,
        };
        let channel_of = move |index: usize| match channels {
            Axis::Rows => index / columns,
            Axis::Columns => index % columns,
        };
        let params = move |values: &[f32]| -> Vec<QuantParams> {
            let mut ranges = vec![(0f32, 0f32); count];
            for (index, &value) in values.iter().enumerate() {
                if let Some((min, max)) = ranges.get_mut(channel_of(index)) {
                    (*min, *max) = (min.min(value), max.max(value));
                }
            }
            ranges.into_iter().map(|(min, max)| Q::params(min, max)).collect()
        };
        let name = Q::NAME;
        ChannelWeight {
            values: weight.derived(name, shape, move |values| {
                let params = params(&values);
                let quantized = values.iter().enumerate().map(|(index, value)| {
                    let QuantParams { scale, zero_point } = params[channel_of(index)];
                    Q::from_f32((value / scale).round() + zero_point)
                });
                quantized.collect()
            }),
            scales: weight.derived(&format!("{name}_scale"), [count], move |values| {
                params(&values).iter().map(|params| params.scale).collect()
            }),
            zero_points: if Q::IS_SYMMETRIC {
                // One for all weights of this size.
                let zeros = move || vec![Q::from_f32(0.0); count];
                Tensor::new(format!("{name}_zeros_{count}"), [count], zeros)
            } else {
                weight.derived(&format!("{name}_zero"), [count], move |values| {
                    let zero_point = |params: &QuantParams| Q::from_f32(params.zero_point);
                    params(&values).iter().map(zero_point).collect()
                })
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `[2, 3]`.
    fn weight() -> Tensor<'static> {
        Tensor::new("w", [2, 3], || vec![1.0, -2.0, 0.0, 4.0, 0.5, 0.0])
    }

    fn dequantized<Q: QuantizedType + Into<f32>>(channels: Axis) -> Vec<f32> {
        let weight = ChannelWeight::<Q>::new(&weight(), channels);
        let (scales, zeros) = (weight.scales.values(), weight.zero_points.values());
        let values = weight.values.values();
        let restored = values.into_iter().enumerate().map(|(index, value)| {
            let channel = if channels == Axis::Rows {
                index / 3
            } else {
                index % 3
            };
            (value.into() - zeros[channel].into()) * scales[channel]
        });
        restored.collect()
    }

    #[test]
    fn values_are_dequantized_to_within_half_a_step_of_their_channel() {
        for (restored, steps) in [
            (dequantized::<i8>(Axis::Columns), [4.0 / 127.0, 2.0 / 127.0, 0.0]),
            (dequantized::<u8>(Axis::Columns), [4.0 / 255.0, 2.5 / 255.0, 0.0]),
        ] {
            for (index, (value, restored)) in weight().values().into_iter().zip(&restored).enumerate() {
                let error = (value - restored).abs();
                assert!(
                    error <= 0.51 * steps[index % 3] + 1e-6,
                    "{index}: {value} became {restored}"
                );
            }
        }
        for restored in [dequantized::<i8>(Axis::Rows), dequantized::<u8>(Axis::Rows)] {
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
    fn zero_and_the_extremes_are_exact() {
        let weight = ChannelWeight::<u8>::new(&weight(), Axis::Columns);
        assert_eq!(weight.zero_points.values(), [0, 204, 0]);
        assert_eq!(weight.values.values(), [64, 0, 0, 255, 255, 0]);
        let weight = ChannelWeight::<i8>::new(&super::tests::weight(), Axis::Rows);
        assert_eq!(weight.zero_points.values(), [0, 0]);
        assert_eq!(weight.values.values(), [64, -127, 0, 127, 16, 0]);
    }

    #[test]
    fn each_column_has_its_scale() {
        let weight = Tensor::new("w", [3, 3], || {
            vec![1.27, -254.0, 0.0, -0.5, 20.0, 0.0, 0.014, 3.0, 0.0]
        });
        let ChannelWeight { values, scales, .. } = ChannelWeight::<i8>::new(&weight, Axis::Columns);
        assert_eq!((values.name(), scales.name()), ("w.int8", "w.int8_scale"));
        assert_eq!(values.values(), [127, -127, 0, -50, 10, 0, 1, 2, 0]);
        let scales = scales.values();
        assert_eq!(scales[..2], [0.01, 2.0]);
        assert!(scales[2] > 0.0);
    }
}
