//! Masks of outlines against pycocotools.

use std::fs;
use std::path::Path;

use florence2::{ImageSize, Mask, Point, Polygon, Segmentation};
use serde::Deserialize;

/// A record of `tests/reference/make_masks.py`.
#[derive(Deserialize)]
struct Case {
    width: u32,
    height: u32,
    polygons: Vec<Vec<f32>>,
    counts: String,
    area: usize,
}

fn polygons(coordinates: &[Vec<f32>]) -> Vec<Polygon> {
    let polygon = |numbers: &Vec<f32>| Polygon {
        points: numbers
            .chunks(2)
            .map(|point| Point {
                x: point[0],
                y: point[1],
            })
            .collect(),
    };
    coordinates.iter().map(polygon).collect()
}

#[test]
fn masks_equal_those_of_pycocotools() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/postprocess/masks.json");
    let cases: Vec<Case> = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    assert!(cases.len() > 60);
    for case in cases {
        let size = ImageSize::new(case.width, case.height);
        let outline = Segmentation::new(polygons(&case.polygons), "");
        let mask = outline.mask(size);
        assert_eq!(mask.coco_counts(), case.counts, "{:?}", case.polygons);
        assert_eq!(mask.pixels().count(), case.area);
        let pixels = mask.to_image().into_raw();
        assert_eq!(pixels.iter().filter(|&&pixel| pixel == 255).count(), case.area);
        let total: u64 = mask.counts().iter().sum();
        assert_eq!(total, u64::from(case.width) * u64::from(case.height));
    }
}

#[test]
fn malformed_outlines_have_a_mask() {
    let size = ImageSize::new(4, 3);
    let empty = Mask::from_polygons(&[], size);
    assert_eq!((empty.counts(), empty.pixels().count()), (&[12][..], 0));
    for numbers in [
        vec![],
        vec![1.0, 1.0],
        vec![f32::NAN; 6],
        vec![f32::MAX, f32::MIN, f32::INFINITY, 0.0, 0.0, f32::NEG_INFINITY],
    ] {
        let mask = Mask::from_polygons(&polygons(&[numbers]), size);
        assert_eq!(mask.counts().iter().sum::<u64>(), 12);
    }
}
