//! Annotated images.
#![cfg(feature = "draw")]

use florence2::draw::{DrawOptions, annotate};
use florence2::{BoundingBox, Detection, Error, OcrRegion, Parsed, Point, Polygon, Quad, Segmentation};
use image::{Rgb, RgbImage};

const GREY: Rgb<u8> = Rgb([120, 130, 140]);

fn plain(width: u32, height: u32) -> RgbImage {
    RgbImage::from_pixel(width, height, GREY)
}

fn detection(bbox: [f32; 4], label: &str) -> Detection {
    let [x1, y1, x2, y2] = bbox;
    Detection::new(BoundingBox::new(x1, y1, x2, y2), label).with_score(0.9)
}

fn points<const N: usize>(points: [(f32, f32); N]) -> [Point; N] {
    points.map(|(x, y)| Point { x, y })
}

fn as_is() -> DrawOptions {
    DrawOptions::default().with_min_side(0)
}

/// Returns the bounds of the pixels that differ: left, top, right, bottom (exclusive).
fn changed(before: &RgbImage, after: &RgbImage) -> Option<[u32; 4]> {
    assert_eq!(before.dimensions(), after.dimensions());
    let differing = before
        .enumerate_pixels()
        .zip(after.pixels())
        .filter(|((_, _, a), b)| a != b);
    differing.fold(None, |found, ((x, y, _), _)| {
        let [left, top, right, bottom] = found.unwrap_or([x, y, x, y]);
        Some([left.min(x), top.min(y), right.max(x + 1), bottom.max(y + 1)])
    })
}

#[test]
fn boxes_are_outlined_and_nothing_else_changes() {
    let image = plain(700, 700);
    let parsed = Parsed::Detections(vec![detection([200.0, 300.0, 500.0, 600.0], "")]);
    let drawn = annotate(&image, &parsed, &as_is().with_labels(false)).unwrap();
    let [left, top, right, bottom] = changed(&image, &drawn).unwrap();
    for (found, expected) in [(left, 200), (top, 300), (right, 500), (bottom, 600)] {
        assert!(found.abs_diff(expected) <= 3, "{found} {expected}");
    }
    for (x, y) in [(200, 450), (499, 450), (350, 300), (350, 599)] {
        assert_ne!(drawn.get_pixel(x, y), &GREY, "{x},{y}");
    }
    assert_eq!(drawn.get_pixel(350, 450), &GREY, "a box is not filled");

    let labelled = annotate(&image, &parsed, &as_is()).unwrap();
    assert!(
        changed(&image, &labelled).unwrap()[1] < 290,
        "the number stands above the box"
    );
}

#[test]
fn objects_have_distinct_colours() {
    let parsed = Parsed::Detections(vec![
        detection([50.0, 50.0, 150.0, 150.0], "a"),
        detection([250.0, 50.0, 350.0, 150.0], "a"),
    ]);
    let drawn = annotate(&plain(400, 200), &parsed, &as_is()).unwrap();
    assert_ne!(drawn.get_pixel(50, 100), drawn.get_pixel(250, 100));
}

#[test]
fn segmented_objects_are_filled() {
    let image = plain(400, 400);
    let triangle = points([(100.0, 100.0), (300.0, 100.0), (100.0, 300.0)]);
    let island = points([(320.0, 320.0), (380.0, 320.0), (380.0, 380.0), (320.0, 380.0)]);
    let parsed = Parsed::Segmentations(vec![Segmentation::new(
        vec![
            Polygon {
                points: triangle.into(),
            },
            Polygon {
                points: island.into(),
            },
        ],
        "",
    )]);
    let drawn = annotate(&image, &parsed, &as_is().with_labels(false)).unwrap();
    let inside = drawn.get_pixel(150, 150);
    assert_ne!(inside, &GREY);
    assert_eq!(inside, drawn.get_pixel(350, 350), "all pieces are tinted alike");
    assert_eq!(drawn.get_pixel(280, 280), &GREY, "beyond the slanted side");
    assert_ne!(
        inside,
        drawn.get_pixel(100, 200),
        "the outline is stronger than the tint"
    );
}

#[test]
fn text_lines_follow_their_corners() {
    let image = plain(400, 400);
    let quad = Quad {
        points: points([(100.0, 200.0), (300.0, 150.0), (310.0, 190.0), (110.0, 240.0)]),
    };
    let region = OcrRegion::new(quad, "STOP");
    let drawn = annotate(
        &image,
        &Parsed::OcrRegions(vec![region]),
        &as_is().with_labels(false),
    )
    .unwrap();
    assert_ne!(drawn.get_pixel(200, 175), &GREY, "the upper side is slanted");
    assert_eq!(drawn.get_pixel(200, 195), &GREY);
    assert_eq!(drawn.get_pixel(110, 160), &GREY);
}

#[test]
fn reversed_boxes_are_drawn_like_others() {
    let image = plain(300, 300);
    let drawn = |bbox| {
        let parsed = Parsed::Detections(vec![detection(bbox, "cat")]);
        annotate(&image, &parsed, &as_is()).unwrap()
    };
    let reversed = drawn([200.0, 250.0, 100.0, 150.0]);
    assert_eq!(
        changed(&image, &reversed),
        changed(&image, &drawn([100.0, 150.0, 200.0, 250.0]))
    );
}

#[test]
fn small_images_are_enlarged() {
    let parsed = Parsed::Detections(vec![detection([48.0, 48.0, 144.0, 144.0], "")]);
    let options = DrawOptions::default().with_labels(false);
    let drawn = annotate(&plain(192, 96), &parsed, &options).unwrap();
    assert_eq!(drawn.dimensions(), (640, 320));
    assert_ne!(drawn.get_pixel(160, 250), &GREY, "the box grows with the image");
    let unchanged = annotate(&plain(192, 96), &Parsed::Text("a".into()), &as_is()).unwrap();
    assert_eq!(unchanged, plain(192, 96));
}

#[test]
fn degenerate_input_is_drawn_without_panic() {
    let far = 1e30;
    let mut parsed = vec![Parsed::Text("words".into()), Parsed::Detections(vec![])];
    let boxes = [
        [0.0, 0.0, 0.0, 0.0],
        [-far, -far, far, far],
        [far, far, -far, -far],
        [f32::NAN, 0.0, 1.0, 1.0],
        [f32::INFINITY, 0.0, f32::NEG_INFINITY, 1.0],
        [5000.0, 5000.0, 6000.0, 6000.0],
    ];
    let labels = ["", "cat", "\u{0}\u{202e}猫 🐈 e\u{301}", &"word ".repeat(500)];
    let detections = boxes
        .iter()
        .flat_map(|bbox| labels.map(|label| detection(*bbox, label)));
    parsed.push(Parsed::Detections(detections.collect()));
    let outlines = [
        vec![],
        points([(1.0, 1.0)]).to_vec(),
        points([(1.0, 1.0), (1.0, 1.0), (1.0, 1.0)]).to_vec(),
        points([(f32::NAN, 1.0), (2.0, f32::INFINITY), (-far, far)]).to_vec(),
    ];
    parsed.push(Parsed::OpenVocabulary {
        detections: vec![],
        segmentations: outlines
            .map(|points| Segmentation::new(vec![Polygon { points }], "x").with_score(f32::NAN))
            .into(),
    });
    let mut invalid = DrawOptions::default().with_scores(true);
    invalid.font_size = Some(f32::NAN);
    invalid.line_width = Some(-1.0);
    invalid.fill_opacity = f32::NAN;
    for (width, height) in [(1, 1), (13, 7), (1, 900), (900, 1), (640, 480)] {
        for parsed in &parsed {
            for options in [as_is(), DrawOptions::default(), invalid.clone()] {
                annotate(&plain(width, height), parsed, &options).unwrap();
            }
        }
    }
    let found = annotate(&plain(0, 3), &parsed[0], &as_is());
    assert!(matches!(&found, Err(Error::ImageEmpty { .. })), "{found:?}");
}

#[test]
fn large_images_have_large_labels() {
    let image = plain(8000, 6000);
    let parsed = Parsed::Detections(vec![detection([4000.0, 3000.0, 5000.0, 4000.0], "cat")]);
    let drawn = annotate(&image, &parsed, &as_is()).unwrap();
    let [_, top, _, _] = changed(&image, &drawn).unwrap();
    assert!((2800..2930).contains(&top), "{top}");
}
