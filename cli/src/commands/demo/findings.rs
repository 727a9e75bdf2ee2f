//! Inputs of tasks, taken from answers to earlier tasks.

use florence2::{BoundingBox, ImageSize, OcrRegion, Parsed, Region, Task, TaskInput, TaskKind};

use crate::error::Result;

/// Facts from answers about a scene.
#[derive(Debug, Default)]
pub struct Findings {
    caption: Option<String>,
    /// The label of the first dense caption.
    phrase: Option<String>,
    /// The box of the first object.
    object: Option<BoundingBox>,
    /// The box of the first text.
    text: Option<BoundingBox>,
}

impl Findings {
    /// Returns a task with an input from the findings, and that input as text.
    pub fn task(&self, kind: TaskKind, size: ImageSize) -> Result<(Task, String)> {
        match kind.spec().input {
            TaskInput::None => Ok((Task::new(kind, None, None)?, String::new())),
            TaskInput::Text => {
                let text = self.question(kind);
                Ok((Task::new(kind, Some(&text), None)?, format!("{text:?}")))
            }
            TaskInput::Region => {
                let bbox = if kind == TaskKind::RegionToOcr {
                    self.text.or(self.object)
                } else {
                    self.object
                };
                let region = bbox.and_then(|bbox| inside(bbox, size)).unwrap_or(middle(size));
                let [x1, y1, x2, y2] = region.to_array();
                let words = format!("{x1:.0},{y1:.0},{x2:.0},{y2:.0}");
                Ok((Task::new(kind, None, Some(Region::Pixels(region)))?, words))
            }
        }
    }

    fn question(&self, kind: TaskKind) -> String {
        let phrase = self.phrase.as_deref().unwrap_or("circle");
        match kind {
            TaskKind::CaptionToPhraseGrounding => {
                self.caption.clone().unwrap_or_else(|| format!("A {phrase}."))
            }
            TaskKind::ReferringExpressionSegmentation => format!("the {phrase}"),
            _ => phrase.to_owned(),
        }
    }

    /// Adds the findings of an answer.
    pub fn learn(&mut self, kind: TaskKind, answer: &Parsed) {
        match (kind, answer) {
            (TaskKind::Caption, Parsed::Text(text)) if !text.is_empty() => self.caption = Some(text.clone()),
            (TaskKind::ObjectDetection, Parsed::Detections(found)) => {
                self.object = found.first().map(|object| object.bbox);
            }
            (TaskKind::DenseRegionCaption, Parsed::Detections(found)) => {
                self.phrase = found
                    .first()
                    .map(|object| object.label.clone())
                    .filter(|label| !label.is_empty());
            }
            (TaskKind::OcrWithRegion, Parsed::OcrRegions(found)) => self.text = found.first().map(extent),
            _ => {}
        }
    }
}

/// Returns the box around a line of text.
fn extent(region: &OcrRegion) -> BoundingBox {
    let [first, rest @ ..] = region.quad.points;
    rest.iter().fold(
        BoundingBox::new(first.x, first.y, first.x, first.y),
        |seen, point| {
            BoundingBox::new(
                seen.x1.min(point.x),
                seen.y1.min(point.y),
                seen.x2.max(point.x),
                seen.y2.max(point.y),
            )
        },
    )
}

/// Returns the part of a box inside the image, `None` if that is empty: models may answer with any box.
fn inside(bbox: BoundingBox, size: ImageSize) -> Option<BoundingBox> {
    let (width, height) = (size.width as f32, size.height as f32);
    let clipped = BoundingBox::new(
        bbox.x1.clamp(0.0, width),
        bbox.y1.clamp(0.0, height),
        bbox.x2.clamp(0.0, width),
        bbox.y2.clamp(0.0, height),
    );
    clipped.to_locations(size).is_ok().then_some(clipped)
}

fn middle(size: ImageSize) -> BoundingBox {
    let (width, height) = (size.width as f32, size.height as f32);
    BoundingBox::new(width / 4.0, height / 4.0, width * 3.0 / 4.0, height * 3.0 / 4.0)
}

#[cfg(test)]
mod tests {
    use florence2::Detection;

    use super::*;

    const SIZE: ImageSize = ImageSize::new(100, 80);

    #[test]
    fn answers_become_inputs() {
        let mut findings = Findings::default();
        let found = |label: &str, bbox| Parsed::Detections(vec![Detection::new(bbox, label)]);
        findings.learn(
            TaskKind::DenseRegionCaption,
            &found("red star", BoundingBox::new(1.0, 2.0, 3.0, 4.0)),
        );
        findings.learn(
            TaskKind::ObjectDetection,
            &found("star", BoundingBox::new(-5.0, 10.0, 30.0, 90.0)),
        );
        let (task, words) = findings
            .task(TaskKind::ReferringExpressionSegmentation, SIZE)
            .unwrap();
        assert_eq!(task, Task::ReferringExpressionSegmentation("the red star".into()));
        assert_eq!(words, "\"the red star\"");
        let (task, words) = findings.task(TaskKind::RegionToOcr, SIZE).unwrap();
        assert_eq!(
            task,
            Task::RegionToOcr(Region::Pixels(BoundingBox::new(0.0, 10.0, 30.0, 80.0)))
        );
        assert_eq!(words, "0,10,30,80");
    }

    #[test]
    fn every_task_has_a_valid_input_whatever_the_answers() {
        let mut findings = Findings::default();
        let reversed = BoundingBox::new(50.0, 10.0, 30.0, 90.0);
        let found = vec![Detection::new(reversed, "")];
        findings.learn(TaskKind::ObjectDetection, &Parsed::Detections(found.clone()));
        findings.learn(TaskKind::DenseRegionCaption, &Parsed::Detections(found));
        for spec in &florence2::TASKS {
            let (task, _) = findings.task(spec.kind, SIZE).unwrap();
            assert!(task.input(SIZE).is_ok(), "{task}");
        }
    }
}
