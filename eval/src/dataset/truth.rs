//! Right answers, by the kind of the task's output.

use florence2::{BoundingBox, Cause, OutputKind, Point, Polygon, Quad, TaskKind};
use florence2_metrics::Labelled;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::Result;

/// The right answer to a question.
#[derive(Debug, Clone, PartialEq)]
pub enum Truth {
    /// Captions, OCR, the region tasks that answer with text.
    Text(String),
    /// Detection, grounding; the labels of region proposals are empty.
    Boxes(Vec<Labelled<BoundingBox>>),
    /// OCR with regions; the label is the text.
    Quads(Vec<Labelled<Quad>>),
    /// Segmentation: the polygons of all instances, which make one mask.
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
    /// Reads the `truth` of a sample.
    pub(super) fn parse(kind: TaskKind, truth: Value) -> Result<Self, Cause> {
        Ok(match kind.spec().output {
            OutputKind::PureText => Truth::Text(serde_json::from_value::<TextTruth>(truth)?.text),
            OutputKind::DescriptionWithBboxes
            | OutputKind::PhraseGrounding
            | OutputKind::DescriptionWithBboxesOrPolygons => {
                Truth::Boxes(instances(truth, |LabelledBox { label, bbox }| {
                    Ok(Labelled {
                        label,
                        shape: bounding_box(bbox)?,
                    })
                })?)
            }
            OutputKind::Bboxes => Truth::Boxes(instances(truth, |proposal: Proposal| {
                Ok(Labelled {
                    label: String::new(),
                    shape: bounding_box(proposal.bbox)?,
                })
            })?),
            OutputKind::Ocr => Truth::Quads(instances(truth, |TextLine { text, quad }| {
                Ok(Labelled {
                    label: text,
                    shape: quadrilateral(quad)?,
                })
            })?),
            OutputKind::Polygons => {
                let outlines = instances(truth, |outline: Outline| match outline.polygons.is_empty() {
                    true => Err("there is an instance without a polygon".into()),
                    false => outline.polygons.iter().map(|polygon| corners(polygon)).collect(),
                })?;
                Truth::Mask(outlines.into_iter().flat_map(|outline: Vec<_>| outline).collect())
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
    match x1 < x2 && y1 < y2 {
        true => Ok(bbox),
        false => Err(format!("box {bbox} is empty or reversed").into()),
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
    match (rest, points) {
        ([_, ..], _) => Err("a polygon is pairs of coordinates, and there is one too many".into()),
        (_, [_, _, _, ..]) => Ok(Polygon {
            points: points.iter().map(|&[x, y]| Point { x, y }).collect(),
        }),
        _ => Err("a polygon has at least three corners".into()),
    }
}

/// JSON has no infinity, but numbers too large for an f32.
fn finite(coordinates: &[f32]) -> Result<(), Cause> {
    match coordinates.iter().all(|value| value.is_finite()) {
        true => Ok(()),
        false => Err("a coordinate is not finite".into()),
    }
}
