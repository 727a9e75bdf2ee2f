//! Boxes: `description_with_bboxes`, `phrase_grounding` and `bboxes`.

use std::sync::LazyLock;

use regex::{Match, Regex};

use super::Answer;
use super::location::{bins, pattern};
use super::text::label;
use crate::geometry::BoundingBox;
use crate::output::Detection;

/// A label and at least four locations.
static PHRASE: LazyLock<Regex> = LazyLock::new(|| pattern(r"([^<]+)((?:<loc_\d+>){4,})"));
static LOCATIONS: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?:<loc_\d+>){4,}"));
static BOX: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?:<loc_\d+>){4}"));

/// Parses labels, each with one or more boxes, into a detection for each box.
pub(super) fn labelled(answer: &Answer<'_>) -> Vec<Detection> {
    phrases(answer)
        .flat_map(|(label, locations)| detections(answer, label, locations))
        .collect()
}

/// Parses as [`labelled`], without the phrases that the options ban.
pub(super) fn grounded(answer: &Answer<'_>) -> Vec<Detection> {
    phrases(answer)
        .filter(|(label, _)| !answer.options.banned_grounding_tokens.contains(*label))
        .flat_map(|(label, locations)| detections(answer, label, locations))
        .collect()
}

/// Parses boxes, ignoring labels.
pub(super) fn unlabelled(answer: &Answer<'_>) -> Vec<Detection> {
    LOCATIONS
        .find_iter(answer.text)
        .flat_map(|locations| detections(answer, "", locations))
        .collect()
}

fn phrases<'a>(answer: &Answer<'a>) -> impl Iterator<Item = (&'a str, Match<'a>)> {
    PHRASE
        .captures_iter(answer.text)
        .filter_map(|phrase| Some((label(phrase.get(1)?.as_str())?, phrase.get(2)?)))
}

/// Returns a detection for each four locations, ignoring the rest.
fn detections(answer: &Answer<'_>, label: &str, locations: Match<'_>) -> Vec<Detection> {
    let label = if answer.options.strict {
        label.chars().filter(char::is_ascii).collect()
    } else {
        label.to_owned()
    };
    BOX.find_iter(locations.as_str())
        .filter_map(|found| {
            let start = locations.start();
            let range = start + found.start()..start + found.end();
            Some(Detection {
                bbox: bounding_box(answer, found.as_str())?,
                label: label.clone(),
                score: answer.score(&[range]),
            })
        })
        .collect()
}

fn bounding_box(answer: &Answer<'_>, locations: &str) -> Option<BoundingBox> {
    let &[x1, y1, x2, y2] = bins(locations).as_slice() else {
        return None;
    };
    let (upper_left, lower_right) = (answer.point(x1, y1), answer.point(x2, y2));
    Some(BoundingBox::new(
        upper_left.x,
        upper_left.y,
        lower_right.x,
        lower_right.y,
    ))
}
