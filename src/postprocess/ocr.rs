//! Lines of text with quadrilaterals: `ocr`.

use std::sync::LazyLock;

use regex::Regex;

use super::Answer;
use super::location::{bins, pattern};
use super::text::strip;
use crate::geometry::{Point, Quad};
use crate::output::OcrRegion;

/// Text and eight locations; `.` matches no newline in the strict pattern.
static REGION: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?s)(.+?)((?:<loc_\d+>){8})"));
static REGION_STRICT: LazyLock<Regex> = LazyLock::new(|| pattern(r"(.+?)((?:<loc_\d+>){8})"));

pub(super) fn regions(answer: &Answer<'_>) -> Vec<OcrRegion> {
    let region: &Regex = if answer.options.strict {
        &REGION_STRICT
    } else {
        &REGION
    };
    region
        .captures_iter(answer.text)
        .filter_map(|found| {
            let (text, locations) = (found.get(1)?, found.get(2)?);
            let quad = quad(answer, locations.as_str())?;
            large_enough(answer, &quad).then(|| OcrRegion {
                quad,
                text: strip(text.as_str()).to_owned(),
                score: answer.score(&[locations.range()]),
            })
        })
        .collect()
}

fn quad(answer: &Answer<'_>, locations: &str) -> Option<Quad> {
    let &[x1, y1, x2, y2, x3, y3, x4, y4] = bins(locations).as_slice() else {
        return None;
    };
    Some(Quad {
        points: [(x1, y1), (x2, y2), (x3, y3), (x4, y4)].map(|(x, y)| answer.point(x, y)),
    })
}

fn large_enough(answer: &Answer<'_>, quad: &Quad) -> bool {
    let threshold = answer.options.ocr_area_threshold;
    let image = f64::from(answer.size.width) * f64::from(answer.size.height);
    threshold <= 0.0 || area(quad, answer.options.strict) >= image * threshold
}

/// Returns the area in square pixels by the shoelace formula; native omits the closing edge.
fn area(quad: &Quad, strict: bool) -> f64 {
    let [a, b, c, d] = quad.points;
    let cross = |p: Point, q: Point| f64::from(p.x) * f64::from(q.y) - f64::from(q.x) * f64::from(p.y);
    let open = cross(a, b) + cross(b, c) + cross(c, d);
    let twice = if strict { open } else { open + cross(d, a) };
    twice.abs() / 2.0
}
