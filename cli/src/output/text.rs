//! Answers as text.

use anstyle::Style;
use florence2::{BoundingBox, Detection, OcrRegion, Parsed, Region, Segmentation, Task};

use super::table::{Column, Table};
use crate::metrics::bounding_box;

/// Returns a heading, bold on a terminal.
pub fn heading(title: &str, detail: &str) -> String {
    let bold = Style::new().bold();
    let gap = if detail.is_empty() { "" } else { "  " };
    format!("{bold}{}{bold:#}{gap}{}\n", printable(title), printable(detail))
}

/// Returns a task's tag and, if it takes one, its text or region.
pub fn task_text(task: &Task) -> String {
    let input = match task {
        Task::CaptionToPhraseGrounding(text)
        | Task::ReferringExpressionSegmentation(text)
        | Task::OpenVocabularyDetection(text) => text.clone(),
        Task::RegionToSegmentation(region)
        | Task::RegionToCategory(region)
        | Task::RegionToDescription(region)
        | Task::RegionToOcr(region) => match region {
            Region::Pixels(bbox) => bbox.to_string(),
            Region::Locations(bins) => bins.to_string(),
            // `Region` is non-exhaustive.
            other => format!("{other:?}"),
        },
        _ => return task.tag().to_owned(),
    };
    format!("{} {input}", task.tag())
}

/// Returns an answer as lines indented by `indent` spaces: a text, or a table of its instances.
pub fn answer_text(parsed: &Parsed, indent: usize) -> String {
    match parsed {
        Parsed::Text(text) => {
            let (indent, text) = (" ".repeat(indent), without_location(text));
            if text.is_empty() {
                return nothing(&indent);
            }
            printable(text)
                .lines()
                .map(|line| format!("{indent}{line}\n"))
                .collect()
        }
        Parsed::Detections(found) => boxes(found, indent),
        Parsed::OcrRegions(found) => lines(found, indent),
        Parsed::Segmentations(found) => outlines(found, indent),
        Parsed::OpenVocabulary {
            detections,
            segmentations,
        } if segmentations.is_empty() => boxes(detections, indent),
        Parsed::OpenVocabulary {
            detections,
            segmentations,
        } if detections.is_empty() => outlines(segmentations, indent),
        Parsed::OpenVocabulary {
            detections,
            segmentations,
        } => boxes(detections, indent) + &outlines(segmentations, indent),
        // `Parsed` is non-exhaustive.
        other => format!("{other:?}\n"),
    }
}

/// Replaces control characters other than newlines: models and files must not control the terminal.
pub fn printable(text: &str) -> String {
    let visible = |c: char| {
        if c.is_control() && c != '\n' {
            char::REPLACEMENT_CHARACTER
        } else {
            c
        }
    };
    text.chars().map(visible).collect()
}

/// Returns a text without the location tokens at its end, in which models repeat the region of the prompt.
fn without_location(text: &str) -> &str {
    let mut text = text.trim_end();
    while let Some((before, bin)) = text.strip_suffix('>').and_then(|text| text.rsplit_once("<loc_"))
        && bin.parse::<u32>().is_ok()
    {
        text = before.trim_end();
    }
    text
}

fn nothing(indent: &str) -> String {
    format!("{indent}(nothing)\n")
}

fn boxes(found: &[Detection], indent: usize) -> String {
    let labelled = found.iter().any(|detection| !detection.label.is_empty());
    instances(
        found,
        indent,
        labelled.then_some("label"),
        &["x1", "y1", "x2", "y2"],
        |detection| {
            (
                &detection.label,
                detection.score,
                coordinates(detection.bbox).into(),
            )
        },
    )
}

fn lines(found: &[OcrRegion], indent: usize) -> String {
    let corners = ["x1", "y1", "x2", "y2", "x3", "y3", "x4", "y4"];
    instances(found, indent, Some("text"), &corners, |region| {
        let points = region.quad.points.iter();
        (
            &region.text,
            region.score,
            points
                .flat_map(|point| [pixels(point.x), pixels(point.y)])
                .collect(),
        )
    })
}

/// Returns a table of outlines by their bounding boxes.
fn outlines(found: &[Segmentation], indent: usize) -> String {
    let labelled = found.iter().any(|instance| !instance.label.is_empty());
    let columns = ["polygons", "points", "x1", "y1", "x2", "y2"];
    instances(found, indent, labelled.then_some("label"), &columns, |instance| {
        let points: usize = instance.polygons.iter().map(|polygon| polygon.points.len()).sum();
        let mut cells = vec![instance.polygons.len().to_string(), points.to_string()];
        if points > 0 {
            cells.extend(coordinates(bounding_box(instance)));
        }
        (&instance.label, instance.score, cells)
    })
}

/// Returns a table with a row for each instance: number, label, score if there is one, and further cells.
fn instances<T>(
    found: &[T],
    indent: usize,
    label: Option<&'static str>,
    columns: &[&'static str],
    row: impl Fn(&T) -> (&String, Option<f32>, Vec<String>),
) -> String {
    if found.is_empty() {
        return nothing(&" ".repeat(indent));
    }
    let scored = found.iter().any(|instance| row(instance).1.is_some());
    let mut header = vec![Column::Number("#")];
    header.extend(label.map(Column::Text));
    header.extend(scored.then_some(Column::Number("score")));
    header.extend(columns.iter().copied().map(Column::Number));
    let mut table = Table::new(header);
    for (number, instance) in found.iter().enumerate() {
        let (text, score, cells) = row(instance);
        let mut line = vec![(number + 1).to_string()];
        line.extend(label.map(|_| text.clone()));
        line.extend(scored.then(|| score.map_or(String::new(), |score| format!("{score:.2}"))));
        line.extend(cells);
        table.row(line);
    }
    table.text(indent)
}

fn coordinates(bbox: BoundingBox) -> [String; 4] {
    bbox.to_array().map(pixels)
}

fn pixels(value: f32) -> String {
    format!("{value:.1}")
}

#[cfg(test)]
mod tests {
    use florence2::{Point, Polygon};

    use super::*;

    #[test]
    fn boxes_are_a_table() {
        let found = Parsed::Detections(vec![
            Detection::new(BoundingBox::new(1.0, 2.25, 30.0, 400.0), "red star").with_score(0.987),
        ]);
        assert_eq!(
            answer_text(&found, 0),
            "#  label     score   x1   y1    x2     y2\n1  red star   0.99  1.0  2.2  30.0  400.0\n"
        );
    }

    #[test]
    fn outlines_show_their_bounding_box() {
        let points = [(5.0, 1.0), (2.0, 8.0), (9.0, 4.0)]
            .map(|(x, y)| Point { x, y })
            .into();
        let found = Parsed::Segmentations(vec![Segmentation::new(vec![Polygon { points }], "")]);
        assert_eq!(
            answer_text(&found, 2),
            "  #  polygons  points   x1   y1   x2   y2\n  1         1       3  2.0  1.0  9.0  8.0\n"
        );
    }

    #[test]
    fn a_repeated_region_is_left_out() {
        assert_eq!(
            without_location("a red star<loc_1><loc_22><loc_333><loc_999>"),
            "a red star"
        );
        assert_eq!(without_location("<loc_1>"), "");
        for kept in ["a <loc_1> b", "a <loc_x>", "a > b", "猫>"] {
            assert_eq!(without_location(kept), kept);
        }
    }

    #[test]
    fn a_model_cannot_control_the_terminal() {
        assert_eq!(
            answer_text(&Parsed::Text("a\u{1b}[2Jb\nc".into()), 0),
            "a\u{fffd}[2Jb\nc\n"
        );
        assert_eq!(answer_text(&Parsed::Text(String::new()), 2), "  (nothing)\n");
    }
}
