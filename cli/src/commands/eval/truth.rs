//! The true answers of a data set.

use florence2::{
    BoundingBox, Cause, Detection, OcrRegion, OutputKind, Parsed, Point, Polygon, Quad, Segmentation,
    TaskKind,
};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::Result;

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
struct LabelledBox<L> {
    label: L,
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
    #[serde(rename = "label")]
    _label: Option<String>,
    polygons: Vec<Vec<f32>>,
}

/// Parses the `truth` of a sample. Region proposals and outlines have empty labels.
pub fn parse(kind: TaskKind, truth: Value) -> Result<Parsed, Cause> {
    Ok(match kind.spec().output {
        OutputKind::PureText => Parsed::Text(serde_json::from_value::<TextTruth>(truth)?.text),
        OutputKind::DescriptionWithBboxes
        | OutputKind::PhraseGrounding
        | OutputKind::DescriptionWithBboxesOrPolygons => {
            let detection = |it: LabelledBox<String>| detection(it.label, it.bbox);
            Parsed::Detections(instances(truth, detection)?)
        }
        OutputKind::Bboxes => {
            let detection = |it: LabelledBox<Option<String>>| detection(String::new(), it.bbox);
            Parsed::Detections(instances(truth, detection)?)
        }
        OutputKind::Ocr => Parsed::OcrRegions(instances(truth, |TextLine { text, quad }| {
            finite(&quad)?;
            let [x1, y1, x2, y2, x3, y3, x4, y4] = quad;
            let points = [(x1, y1), (x2, y2), (x3, y3), (x4, y4)].map(|(x, y)| Point { x, y });
            Ok(OcrRegion::new(Quad { points }, text))
        })?),
        OutputKind::Polygons => Parsed::Segmentations(instances(truth, |outline: Outline| {
            if outline.polygons.is_empty() {
                return Err("an instance has no polygon".into());
            }
            let polygons = outline.polygons.iter().map(|polygon| corners(polygon));
            Ok(Segmentation::new(polygons.collect::<Result<Vec<_>, _>>()?, ""))
        })?),
    })
}

fn instances<T: DeserializeOwned, U>(
    truth: Value,
    convert: impl Fn(T) -> Result<U, Cause>,
) -> Result<Vec<U>, Cause> {
    let list: Instances<T> = serde_json::from_value(truth)?;
    list.instances.into_iter().map(convert).collect()
}

fn detection(label: String, [x1, y1, x2, y2]: [f32; 4]) -> Result<Detection, Cause> {
    let bbox = BoundingBox::new(x1, y1, x2, y2);
    finite(&bbox.to_array())?;
    if x1 >= x2 || y1 >= y2 {
        return Err(format!("box {bbox} is empty or reversed").into());
    }
    Ok(Detection::new(bbox, label))
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
