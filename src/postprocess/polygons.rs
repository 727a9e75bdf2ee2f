//! Outlines: `polygons`, and `description_with_bboxes_or_polygons` with outlines.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::Answer;
use super::location::{bins, pattern};
use super::text::label;
use crate::geometry::Polygon;
use crate::output::Segmentation;

/// A label and at least four locations or polygon tokens.
static PHRASE: LazyLock<Regex> = LazyLock::new(|| pattern(r"[^<]+(?:<loc_\d+>|<sep>|<poly>|</poly>){4,}"));
static OUTLINES: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?:<loc_\d+>|<sep>|<poly>|</poly>){4,}"));
/// A location at the start of a phrase without label; the search for the label's end skips it.
static FIRST_LOCATION: LazyLock<Regex> = LazyLock::new(|| pattern(r"^<loc_\d+>"));
static LABEL_END: LazyLock<Regex> = LazyLock::new(|| pattern(r"<loc_|<poly>"));
static INSTANCE: LazyLock<Regex> = LazyLock::new(|| pattern(r"<poly>(.*?)</poly>"));
static POLYGON: LazyLock<Regex> = LazyLock::new(|| pattern(r"((?:<loc_\d+>)+)(?:<sep>|$)"));

/// Parses labels, each with one or more instances of one or more polygons.
pub(super) fn labelled(answer: &Answer<'_>) -> Vec<Segmentation> {
    segmentations(answer, &PHRASE)
}

/// Parses outlines, ignoring labels.
pub(super) fn unlabelled(answer: &Answer<'_>) -> Vec<Segmentation> {
    segmentations(answer, &OUTLINES)
}

fn segmentations(answer: &Answer<'_>, phrases: &Regex) -> Vec<Segmentation> {
    phrases
        .find_iter(answer.text)
        .filter_map(|phrase| Some((label_of(phrase.as_str())?, phrase.range())))
        .flat_map(|(label, phrase)| {
            instances(answer.text, phrase)
                .into_iter()
                .filter_map(move |range| segmentation(answer, label, range))
        })
        .collect()
}

/// Returns a phrase's label. Native's label of an outline without one is the text between its first two locations: nothing,
/// or stray polygon tokens.
fn label_of(phrase: &str) -> Option<&str> {
    let first_location = FIRST_LOCATION.find(phrase).map_or(0, |found| found.end());
    let phrase = phrase.get(first_location..)?;
    label(phrase.get(..LABEL_END.find(phrase)?.start())?)
}

/// Returns the ranges of a phrase's instances: between `<poly>` and `</poly>`, or the whole phrase if it lacks either.
fn instances(text: &str, phrase: Range<usize>) -> Vec<Range<usize>> {
    let phrase_text = text.get(phrase.clone()).unwrap_or_default();
    if !(phrase_text.contains("<poly>") && phrase_text.contains("</poly>")) {
        return vec![phrase];
    }
    INSTANCE
        .captures_iter(phrase_text)
        .filter_map(|instance| instance.get(1))
        .map(|inside| phrase.start + inside.start()..phrase.start + inside.end())
        .collect()
}

/// Parses one instance; its polygons are separated by `<sep>`.
fn segmentation(answer: &Answer<'_>, label: &str, range: Range<usize>) -> Option<Segmentation> {
    let text = answer.text.get(range.clone())?;
    let outlines: Vec<_> = POLYGON
        .captures_iter(text)
        .filter_map(|found| found.get(1))
        .collect();
    let ranges = outlines
        .iter()
        .map(|outline| range.start + outline.start()..range.start + outline.end());
    (!outlines.is_empty()).then(|| Segmentation {
        polygons: outlines
            .iter()
            .map(|locations| polygon(answer, locations.as_str()))
            .collect(),
        label: label.to_owned(),
        score: answer.score(&ranges.collect::<Vec<_>>()),
    })
}

/// Returns a point for each two locations, ignoring a last single one.
fn polygon(answer: &Answer<'_>, locations: &str) -> Polygon {
    let bins = bins(locations);
    let (pairs, _) = bins.as_chunks();
    Polygon {
        points: pairs.iter().map(|&[x, y]| answer.point(x, y)).collect(),
    }
}
