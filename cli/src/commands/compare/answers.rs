//! The comparison of two models' answers to one task about one image.

use florence2::{Florence2, ImageFeatures, Output, Parsed, RunOptions, Task};
use image::DynamicImage;
use serde::Serialize;

use super::divergence::{Divergence, next_token_logits, shared_prefix};
use crate::error::Result;
use crate::metrics::{Labelled, box_iou, boxes, mask_iou, normalise, pairs, polygons, quad_iou, quads};

/// Runs both models and compares their answers.
pub struct Comparer<'a> {
    pub reference: &'a Florence2,
    pub candidate: &'a Florence2,
    /// The options of both models' runs.
    pub options: RunOptions,
    /// Whether to compare the models at each position of the reference's answer, too.
    pub teacher_forced: bool,
}

/// An image's features by each of the models.
pub struct Features {
    reference: ImageFeatures,
    candidate: ImageFeatures,
}

/// The comparison of two answers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AnswerComparison {
    /// The image.
    pub path: String,
    /// The task's tag, or the free prompt.
    pub task: String,
    /// Whether all tokens are the same.
    pub exact: bool,
    /// The number of tokens before the first difference.
    pub same_tokens: usize,
    /// The number of the longer answer's tokens.
    pub tokens: usize,
    /// The positions of the reference's answer at which both models rank the same token first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub teacher_forced: Option<Count>,
    /// The comparison of what the answers say.
    pub content: Content,
    /// The candidate's sequence score minus the reference's.
    pub score_difference: f32,
    /// The first difference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub divergence: Option<Divergence>,
}

/// A part of a total.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Count {
    pub same: usize,
    /// The total.
    pub of: usize,
}

/// The comparison of what two answers say, by the kind of answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Content {
    /// Captions and text read.
    Text {
        /// Whether the texts are equal apart from white space.
        same: bool,
    },
    /// Labelled boxes or quadrilaterals.
    Instances {
        /// The number of the reference's instances.
        reference: usize,
        /// The number of the candidate's instances.
        candidate: usize,
        /// The IoU of each matched pair: same label, IoU of 0.5 or more.
        ious: Vec<f64>,
    },
    /// Outlines.
    Mask {
        /// The IoU of the masks that all outlines make; 1 if both answers have none.
        iou: f64,
    },
}

impl Comparer<'_> {
    /// Encodes an image with both models.
    pub fn encode(&self, image: &DynamicImage) -> Result<Features> {
        Ok(Features {
            reference: self.reference.encode_image(image)?,
            candidate: self.candidate.encode_image(image)?,
        })
    }

    /// Runs a task on both models and compares the answers.
    pub fn compare(&self, path: &str, image: &Features, task: &Task) -> Result<AnswerComparison> {
        let reference = self.reference.answer(&image.reference, task, &self.options)?;
        let candidate = self.candidate.answer(&image.candidate, task, &self.options)?;
        let same_tokens = shared_prefix(&reference.token_ids, &candidate.token_ids);
        let tokens = reference.token_ids.len().max(candidate.token_ids.len());
        let exact = same_tokens == tokens;
        let ids = [reference.token_ids.as_slice(), candidate.token_ids.as_slice()];
        let divergence = (!exact).then(|| Divergence::find(self.reference, &image.reference, task, ids));
        let teacher_forced = self
            .teacher_forced
            .then(|| self.teacher_forced(image, &reference));
        Ok(AnswerComparison {
            path: path.to_owned(),
            task: task.tag().to_owned(),
            exact,
            same_tokens,
            tokens,
            teacher_forced: teacher_forced.transpose()?,
            content: content(&reference.parsed, &candidate.parsed),
            score_difference: candidate.score - reference.score,
            divergence: divergence.transpose()?,
        })
    }

    /// Counts the positions of the reference's answer at which both models rank the same token first, given the tokens
    /// before. A forced first token is not counted.
    fn teacher_forced(&self, image: &Features, reference: &Output) -> Result<Count> {
        let forced = self.reference.generation_config().forced_bos_token_id.is_some();
        let (task, ids) = (&reference.task, reference.token_ids.as_slice());
        let mut count = Count { same: 0, of: 0 };
        for position in usize::from(forced)..ids.len() {
            let prefix = ids.get(..position).unwrap_or_default();
            let theirs = next_token_logits(self.reference, &image.reference, task, prefix)?;
            let ours = next_token_logits(self.candidate, &image.candidate, task, prefix)?;
            count.same += usize::from(likeliest(&theirs) == likeliest(&ours));
            count.of += 1;
        }
        Ok(count)
    }
}

/// Returns the index of the highest logit, the first of equals.
fn likeliest(logits: &[f32]) -> Option<usize> {
    let highest = logits.iter().copied().max_by(f32::total_cmp)?;
    logits.iter().position(|&logit| logit == highest)
}

/// Compares what two answers say.
pub fn content(reference: &Parsed, candidate: &Parsed) -> Content {
    match reference {
        Parsed::Text(text) => Content::Text {
            same: matches!(candidate, Parsed::Text(other) if normalise(text) == normalise(other)),
        },
        Parsed::OcrRegions(_) => instances(&quads(reference), &quads(candidate), quad_iou),
        Parsed::Segmentations(_) => {
            let (theirs, ours) = (polygons(reference), polygons(candidate));
            let both_empty = theirs.is_empty() && ours.is_empty();
            Content::Mask {
                iou: if both_empty { 1.0 } else { mask_iou(&ours, &theirs) },
            }
        }
        _ => instances(&boxes(reference), &boxes(candidate), box_iou),
    }
}

fn instances<S>(
    reference: &[Labelled<S>],
    candidate: &[Labelled<S>],
    iou: impl Fn(&S, &S) -> f64,
) -> Content {
    Content::Instances {
        reference: reference.len(),
        candidate: candidate.len(),
        ious: pairs(candidate, reference, iou),
    }
}

#[cfg(test)]
mod tests {
    use florence2::{BoundingBox, Detection, Point, Polygon, Segmentation};

    use super::*;

    fn detections(boxes: &[(&str, f32)]) -> Parsed {
        let detection = |&(label, x2): &(&str, f32)| Detection {
            bbox: BoundingBox::new(0.0, 0.0, x2, 10.0),
            label: label.into(),
            score: None,
        };
        Parsed::Detections(boxes.iter().map(detection).collect())
    }

    fn outline(corners: &[(f32, f32)]) -> Parsed {
        let points = corners.iter().map(|&(x, y)| Point { x, y }).collect();
        Parsed::Segmentations(vec![Segmentation {
            polygons: vec![Polygon { points }],
            label: String::new(),
            score: None,
        }])
    }

    #[test]
    fn boxes_match_by_label_and_overlap() {
        let reference = detections(&[("star", 10.0), ("ring", 10.0), ("moon", 10.0)]);
        let candidate = detections(&[("ring", 8.0), ("star", 10.0)]);
        let Content::Instances {
            reference,
            candidate,
            ious,
        } = content(&reference, &candidate)
        else {
            panic!("boxes are instances");
        };
        assert_eq!((reference, candidate), (3, 2));
        assert!((ious[0] - 1.0).abs() < 1e-6 && (ious[1] - 0.8).abs() < 1e-6);
        assert_eq!(ious.len(), 2);
    }

    #[test]
    fn texts_are_equal_apart_from_white_space() {
        let text = |text: &str| Parsed::Text(text.into());
        assert_eq!(
            content(&text("a  star "), &text("a star")),
            Content::Text { same: true }
        );
        assert_eq!(
            content(&text("a star"), &text("A star")),
            Content::Text { same: false }
        );
        assert_eq!(
            content(&text(""), &detections(&[])),
            Content::Text { same: false }
        );
    }

    #[test]
    fn outlines_are_masks() {
        let square = outline(&[(0.0, 0.0), (10.0, 0.0), (10.0, 10.0), (0.0, 10.0)]);
        let half = outline(&[(0.0, 0.0), (10.0, 0.0), (10.0, 5.0), (0.0, 5.0)]);
        let none = Parsed::Segmentations(Vec::new());
        for (one, other, expected) in [(&square, &half, 0.5), (&square, &none, 0.0), (&none, &none, 1.0)] {
            let Content::Mask { iou } = content(one, other) else {
                panic!("outlines are masks");
            };
            assert!((iou - expected).abs() < 1e-6, "{iou}");
        }
    }

    #[test]
    fn the_likeliest_is_the_first_of_equals() {
        assert_eq!(likeliest(&[1.0, 3.0, 3.0]), Some(1));
        assert_eq!(likeliest(&[]), None);
    }
}
