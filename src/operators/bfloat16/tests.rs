//! Tests of attention in bfloat16.

use super::super::reference::{assert_close, attention, noise};
use super::*;

#[test]
fn any_size_is_computed_as_defined_to_8_bits() {
    if !is_supported() {
        return;
    }
    let mut head = Head::default();
    // Sizes and numbers of tokens that are multiples of vectors, pairs, panels and rows, and others.
    for (size, tokens) in [1, 8, 15, 24, 32, 64, 80]
        .into_iter()
        .flat_map(|size| [1, 2, 6, 16, 17, 64, 79, 144].map(|tokens| (size, tokens)))
    {
        // A head between others, and its values as rows for the reference.
        let stride = 3 * size;
        let inputs = [1, 2, 3].map(|seed| noise(tokens * stride, seed));
        let inputs: [&[f32]; 3] = [0, 1, 2].map(|index| inputs[index].as_slice());
        let [query, key, value] = inputs.map(|values| -> Vec<f32> {
            let rows = values.chunks(stride).map(|row| &row[size..2 * size]);
            rows.flatten().copied().collect()
        });
        let mut attended = vec![f32::NAN; tokens * size];
        let views = inputs.map(|values| Tokens {
            values: &values[size..],
            stride,
            size,
        });
        // SAFETY: `is_supported` found the instructions.
        unsafe { head.attend(views, attended.chunks_mut(size)) };
        let reference: Vec<f64> = query
            .chunks(size)
            .flat_map(|query| attention(query, &key, &value))
            .collect();
        assert_close(&attended, &reference, 1e-2, &format!("{tokens} tokens of {size}"));
    }
}

#[test]
fn nan_is_propagated() {
    if !is_supported() {
        return;
    }
    let (size, tokens) = (24, 18);
    let inputs = [1, 2, 3].map(|seed| noise(tokens * size, seed));
    let nans = [f32::NAN, f32::INFINITY, f32::from_bits(0xffff_ffff)];
    for (which, nan) in (0..3).flat_map(|which| nans.map(|nan| (which, nan))) {
        let mut inputs = inputs.clone();
        inputs[which][7] = nan;
        let views = inputs.each_ref().map(|values| Tokens {
            values,
            stride: size,
            size,
        });
        let mut attended = vec![0.0; tokens * size];
        // SAFETY: `is_supported` found the instructions.
        unsafe { Head::default().attend(views, attended.chunks_mut(size)) };
        assert!(!attended[7].is_finite(), "{nan} in input {which}");
    }
}
