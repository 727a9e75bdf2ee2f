//! Parsing the text of a long answer into instances.

use std::fmt::Write;
use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use florence2::postprocess::{ParseOptions, RawAnswer, parse};
use florence2::{ImageSize, OutputKind, Parsed};

const INSTANCES: usize = 50;
const SIZE: ImageSize = ImageSize::new(1632, 1224);

/// Returns an answer of [`INSTANCES`] instances, each with `locations` location tokens between `open` and `close`.
fn answer(locations: usize, open: &str, close: &str) -> String {
    let mut text = String::from("<s>");
    for instance in 0..INSTANCES {
        write!(text, "a traffic light, the {instance}th{open}").unwrap();
        for location in 0..locations {
            write!(text, "<loc_{}>", (instance * 37 + location * 101) % 1000).unwrap();
        }
        text += close;
    }
    text + "</s>"
}

fn instances(parsed: &Parsed) -> usize {
    match parsed {
        Parsed::Detections(found) => found.len(),
        Parsed::OcrRegions(found) => found.len(),
        Parsed::OpenVocabulary { segmentations, .. } => segmentations.len(),
        _ => 0,
    }
}

fn postprocess(criterion: &mut Criterion) {
    let options = ParseOptions::default();
    let mut group = criterion.benchmark_group("postprocess, 50 instances");
    for (name, kind, text) in [
        ("boxes", OutputKind::DescriptionWithBboxes, answer(4, "", "")),
        ("lines of text", OutputKind::Ocr, answer(8, "", "")),
        (
            "outlines",
            OutputKind::DescriptionWithBboxesOrPolygons,
            answer(40, "<poly>", "</poly>"),
        ),
    ] {
        let read = || parse(kind, &RawAnswer::from_text(black_box(&text)), SIZE, &options);
        assert_eq!(instances(&read()), INSTANCES, "{name}");
        group.bench_function(name, |bencher| bencher.iter(read));
    }
    group.finish();
}

criterion_group!(benches, postprocess);
criterion_main!(benches);
