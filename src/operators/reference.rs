//! Reference implementations for tests of operators.

/// Returns pseudo-random values in -1..1.
pub(super) fn noise(len: usize, seed: usize) -> Vec<f32> {
    let value = |i: usize| ((i + 31 * seed) * 7919 % 1009) as f32 / 504.5 - 1.0;
    (0..len).map(value).collect()
}

/// Computes attention of one query, `[size]`, to keys and values, `[length, size]`, by definition in 64 bits.
pub(super) fn attention(query: &[f32], keys: &[f32], values: &[f32]) -> Vec<f64> {
    let size = query.len();
    let product = |key: &[f32]| -> f64 {
        let products = query.iter().zip(key).map(|(&q, &k)| f64::from(q) * f64::from(k));
        products.sum()
    };
    let scores: Vec<f64> = keys
        .chunks(size)
        .map(|key| product(key) / (size as f64).sqrt())
        .collect();
    let largest = scores.iter().copied().fold(f64::MIN, f64::max);
    let weights: Vec<f64> = scores.iter().map(|score| (score - largest).exp()).collect();
    let column = |column: usize| {
        let values = values.chunks(size).map(|value| f64::from(value[column]));
        let products = values.zip(&weights).map(|(value, weight)| value * weight);
        products.sum::<f64>() / weights.iter().sum::<f64>()
    };
    (0..size).map(column).collect()
}

/// Asserts that values equal a reference within `tolerance` times its largest.
pub(super) fn assert_close(values: &[f32], reference: &[f64], tolerance: f64, what: &str) {
    let largest = reference.iter().fold(0.0f64, |largest, x| largest.max(x.abs()));
    let differences = values
        .iter()
        .zip(reference)
        .map(|(&a, b)| (f64::from(a) - b).abs());
    let difference = differences.fold(0.0, f64::max) / largest;
    assert_eq!(values.len(), reference.len());
    assert!(difference < tolerance, "{what}: {difference:e}");
}
