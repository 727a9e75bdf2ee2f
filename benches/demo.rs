//! The demo model, end to end and by stage. It is small, so the time outside matrix products is visible.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use florence2::generation::GenerationOptions;
use florence2::runtime::{RuntimeOptions, init_or_fetch};
use florence2::{Florence2, LoadOptions, RunOptions, Task, load_image};

const SCENE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/demo/scenes/hotel.jpg");

fn demo(criterion: &mut Criterion) {
    init_or_fetch(&RuntimeOptions::default(), &|_| {}).unwrap();
    let model = Florence2::demo(LoadOptions::default()).unwrap();
    let image = load_image(SCENE).unwrap();
    let features = model.encode_image(&image).unwrap();
    let answer = |beams: usize| {
        let generation = GenerationOptions::default().with_num_beams(beams);
        let options = RunOptions::default().with_generation(generation);
        model.run_with(black_box(&features), &Task::ObjectDetection, &options)
    };

    let mut group = criterion.benchmark_group("demo model");
    group.sample_size(20);
    group.bench_function("load", |bencher| {
        bencher.iter(|| Florence2::demo(LoadOptions::default()).unwrap());
    });
    group.bench_function("encode_image", |bencher| {
        bencher.iter(|| model.encode_image(black_box(&image)).unwrap());
    });
    group.bench_function("answer, greedy", |bencher| bencher.iter(|| answer(1).unwrap()));
    group.bench_function("answer, 3 beams", |bencher| bencher.iter(|| answer(3).unwrap()));
    group.bench_function("file to answer", |bencher| {
        bencher.iter(|| {
            let image = load_image(SCENE).unwrap();
            model.run(&image, &Task::ObjectDetection).unwrap()
        });
    });
    group.finish();
}

criterion_group!(benches, demo);
criterion_main!(benches);
