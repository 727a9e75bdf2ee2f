//! True answers, by the kind of the task's output.

use florence2::{BoundingBox, Cause, OutputKind, Point, Polygon, Quad, TaskKind};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::Result;
use crate::metrics::Labelled;

/// The true answer of a sample. Labels are [normalised](crate::metrics::normalise).
#[derive(Debug, Clone, PartialEq)]
pub enum Truth {
    /// The text of captions, OCR and the region tasks that answer with text.
    Text(String),
    /// The boxes of detection and grounding; region proposals have empty labels.
    Boxes(Vec<Labelled<BoundingBox>>),
    /// The lines of OCR with regions, labelled with their text.
    Quads(Vec<Labelled<Quad>>),
    /// The polygons of all instances of a segmentation, joined into one mask.
    Mask(Vec<Polygon>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TextTruth {
    text: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Instances<T> {
    instances: Vec<T>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LabelledBox {
    label: String,
    bbox: [f32; 4],
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Proposal {
    #[serde(default, rename = "label")]
    _label: Option<String>,
    bbox: [f32; 4],
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TextLine {
    text: String,
    quad: [f32; 8],
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Outline {
    #[serde(default, rename = "label")]
    _label: Option<String>,
    polygons: Vec<Vec<f32>>,
}

impl Truth {
    /// Parses the `truth` of a sample.
    pub fn parse(kind: TaskKind, truth: Value) -> Result<Self, Cause> {
        Ok(match kind.spec().output {
            OutputKind::PureText => Truth::Text(serde_json::from_value::<TextTruth>(truth)?.text),
            OutputKind::DescriptionWithBboxes
            | OutputKind::PhraseGrounding
            | OutputKind::DescriptionWithBboxesOrPolygons => {
                Truth::Boxes(instances(truth, |LabelledBox { label, bbox }| {
                    Ok(Labelled::normalised(&label, bounding_box(bbox)?))
                })?)
            }
            OutputKind::Bboxes => Truth::Boxes(instances(truth, |proposal: Proposal| {
                Ok(Labelled::normalised("", bounding_box(proposal.bbox)?))
            })?),
            OutputKind::Ocr => Truth::Quads(instances(truth, |TextLine { text, quad }| {
                Ok(Labelled::normalised(&text, quadrilateral(quad)?))
            })?),
            OutputKind::Polygons => {
                let outlines: Vec<Vec<Polygon>> = instances(truth, |outline: Outline| {
                    if outline.polygons.is_empty() {
                        return Err("an instance has no polygon".into());
                    }
                    outline.polygons.iter().map(|polygon| corners(polygon)).collect()
                })?;
                Truth::Mask(outlines.concat())
            }
        })
    }
}

fn instances<T: DeserializeOwned, U>(
    truth: Value,
    convert: impl Fn(T) -> Result<U, Cause>,
) -> Result<Vec<U>, Cause> {
    let list: Instances<T> = serde_json::from_value(truth)?;
    list.instances.into_iter().map(convert).collect()
}

fn bounding_box([x1, y1, x2, y2]: [f32; 4]) -> Result<BoundingBox, Cause> {
    let bbox = BoundingBox::new(x1, y1, x2, y2);
    finite(&bbox.to_array())?;
    if x1 < x2 && y1 < y2 {
        Ok(bbox)
    } else {
        Err(format!("box {bbox} is empty or reversed").into())
    }
}

fn quadrilateral([x1, y1, x2, y2, x3, y3, x4, y4]: [f32; 8]) -> Result<Quad, Cause> {
    finite(&[x1, y1, x2, y2, x3, y3, x4, y4])?;
    let points = [(x1, y1), (x2, y2), (x3, y3), (x4, y4)].map(|(x, y)| Point { x, y });
    Ok(Quad { points })
}

fn corners(coordinates: &[f32]) -> Result<Polygon, Cause> {
    finite(coordinates)?;
    let (points, rest) = coordinates.as_chunks();
    if !rest.is_empty() {
        return Err("a polygon needs an even number of coordinates".into());
    }
    if points.len() < 3 {
        return Err("a polygon has at least three corners".into());
    }
    let points = points.iter().map(|&[x, y]| Point { x, y }).collect();
    Ok(Polygon { points })
}

/// JSON has no infinity, but numbers that overflow an f32.
fn finite(coordinates: &[f32]) -> Result<(), Cause> {
    if coordinates.iter().all(|value| value.is_finite()) {
        Ok(())
    } else {
        Err("a coordinate is not finite".into())
    }
}
