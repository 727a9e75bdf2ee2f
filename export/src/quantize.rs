//! Weights with fewer bits.

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
    let shape = weight.shape().to_vec();
    let columns = shape.last().copied().unwrap_or_default();
    Int8Weight {
        values: weight.derived("int8", shape, move |values| {
            let scales = column_scales(&values, columns);
            let quantize = |(index, value): (usize, &f32)| (value / scales[index % columns]).round() as i8;
            values.iter().enumerate().map(quantize).collect()
        }),
        scales: weight.derived("int8_scale", [columns], move |values| {
            column_scales(&values, columns)
        }),
    }
}

/// The largest magnitude of each column over 127; never 0.
fn column_scales(values: &[f32], columns: usize) -> Vec<f32> {
    let mut largest = vec![f32::MIN_POSITIVE * 127.0; columns];
    for row in values.chunks_exact(columns.max(1)) {
        for (largest, value) in largest.iter_mut().zip(row) {
            *largest = largest.max(value.abs());
        }
    }
    largest.iter().map(|largest| largest / 127.0).collect()
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
}
