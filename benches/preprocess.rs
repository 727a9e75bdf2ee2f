//! Decoding and preprocessing a JPEG of 2 megapixels.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use florence2::image::codecs::jpeg::JpegEncoder;
use florence2::image::{Rgb, RgbImage};
use florence2::{ImageProcessor, decode_image};

const WIDTH: u32 = 1632;
const HEIGHT: u32 = 1224;
const QUALITY: u8 = 90;

/// Returns a JPEG of gradients with noise, which takes as long to decode as a photo.
fn photo() -> Vec<u8> {
    let mut state = 1u32;
    let image = RgbImage::from_fn(WIDTH, HEIGHT, |x, y| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let noise = (state >> 28) as u8;
        Rgb([x >> 3, y >> 3, (x + y) >> 4].map(|slope| (slope as u8).saturating_add(noise)))
    });
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, QUALITY)
        .encode_image(&image)
        .unwrap();
    bytes
}

fn preprocess(criterion: &mut Criterion) {
    let (bytes, processor) = (photo(), ImageProcessor::default());
    let image = decode_image(&bytes).unwrap();
    let mut group = criterion.benchmark_group("preprocess");
    group.bench_function("decode", |bencher| {
        bencher.iter(|| decode_image(black_box(&bytes)).unwrap());
    });
    group.bench_function("resize and normalise", |bencher| {
        bencher.iter(|| processor.process(black_box(&image)).unwrap());
    });
    group.bench_function("all", |bencher| {
        bencher.iter(|| {
            let image = decode_image(black_box(&bytes)).unwrap();
            processor.process(&image).unwrap()
        });
    });
    group.finish();
}

criterion_group!(benches, preprocess);
criterion_main!(benches);
