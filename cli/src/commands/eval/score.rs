//! The score of one answer.

use florence2::{Parsed, TaskInput, TaskKind};

use super::metric::{Metric, Tally};
use super::truth::Truth;
use crate::metrics::{
    Labelled, box_iou, boxes, character_errors, mask_iou, normalise, pairs, polygons, quad_iou, quads,
    without_locations,
};

/// Adds an answer to the metrics of its task.
pub fn score(tally: &mut Tally, task: TaskKind, answer: &Parsed, truth: &Truth) {
    match truth {
        Truth::Text(truth) => text(tally, task, answer, &normalise(truth)),
        Truth::Boxes(truths) => instances(tally, &boxes(answer), truths, box_iou),
        Truth::Quads(truths) => instances(tally, &quads(answer), truths, quad_iou),
        Truth::Mask(truth) => tally.add(Metric::MaskIou, mask_iou(&polygons(answer), truth), 1.0),
    }
}

fn text(tally: &mut Tally, task: TaskKind, answer: &Parsed, truth: &str) {
    let answer = match answer {
        Parsed::Text(text) if task.spec().input == TaskInput::Region => normalise(&without_locations(text)),
        Parsed::Text(text) => normalise(text),
        _ => String::new(),
    };
    tally.add_one(Metric::Exact, answer == truth);
    if matches!(task, TaskKind::Ocr | TaskKind::RegionToOcr) {
        let (errors, length) = character_errors(&answer, truth);
        tally.add(Metric::CharacterErrorRate, errors as f64, length as f64);
    }
}

fn instances<S>(
    tally: &mut Tally,
    answered: &[Labelled<S>],
    truths: &[Labelled<S>],
    iou: impl Fn(&S, &S) -> f64,
) {
    let ious = pairs(answered, truths, iou);
    let (matched, all) = (ious.len() as f64, (answered.len() + truths.len()) as f64);
    tally.add(Metric::F1, 2.0 * matched, all);
    tally.add(Metric::MeanIou, ious.iter().sum(), matched);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use florence2::{BoundingBox, Detection, OcrRegion, Point, Polygon, Quad, Segmentation};

    use super::*;

    fn values(task: TaskKind, samples: &[(Parsed, Truth)]) -> BTreeMap<Metric, f64> {
        let mut tally = Tally::default();
        for (answer, truth) in samples {
            score(&mut tally, task, answer, truth);
        }
        tally.values()
    }

    fn detection(label: &str, x2: f32) -> Detection {
        Detection {
            bbox: BoundingBox::new(0.0, 0.0, x2, 10.0),
            label: label.into(),
            score: None,
        }
    }

    fn truth(label: &str, x2: f32) -> Labelled<BoundingBox> {
        Labelled::normalised(label, BoundingBox::new(0.0, 0.0, x2, 10.0))
    }

    fn square(x: f32, side: f32) -> [Point; 4] {
        [(x, 0.0), (x + side, 0.0), (x + side, side), (x, side)].map(|(x, y)| Point { x, y })
    }

    #[test]
    fn instances_are_pooled_over_samples() {
        let samples = [
            // one of two found, at an IoU of 0.8
            (
                Parsed::Detections(vec![detection("a  star ", 8.0)]),
                Truth::Boxes(vec![truth(" a star", 10.0), truth("ring", 10.0)]),
            ),
            // one found at an IoU of 0.6, one false positive
            (
                Parsed::Detections(vec![detection("ring", 6.0), detection("star", 10.0)]),
                Truth::Boxes(vec![truth("ring", 10.0)]),
            ),
            // correctly empty
            (Parsed::Detections(Vec::new()), Truth::Boxes(Vec::new())),
        ];
        let values = values(TaskKind::ObjectDetection, &samples);
        // 2 · 2 of 3 answered and 3 true
        assert_eq!(values[&Metric::F1], 4.0 / 6.0);
        assert!((values[&Metric::MeanIou] - 0.7).abs() < 1e-6);
        assert_eq!(values.len(), 2);
    }

    #[test]
    fn without_a_match_there_is_no_mean() {
        let missed = (
            Parsed::Detections(Vec::new()),
            Truth::Boxes(vec![truth("ring", 10.0)]),
        );
        let values = values(TaskKind::ObjectDetection, &[missed]);
        assert_eq!(values.into_iter().collect::<Vec<_>>(), [(Metric::F1, 0.0)]);
    }

    #[test]
    fn an_outline_counts_as_its_box() {
        let answer = Parsed::OpenVocabulary {
            detections: vec![detection("star", 10.0)],
            segmentations: vec![Segmentation {
                polygons: vec![Polygon {
                    points: square(0.0, 10.0).to_vec(),
                }],
                label: "star".into(),
                score: None,
            }],
        };
        let truths = Truth::Boxes(vec![truth("star", 10.0), truth("star", 10.0)]);
        let values = values(TaskKind::OpenVocabularyDetection, &[(answer, truths)]);
        assert_eq!(values[&Metric::F1], 1.0);
    }

    #[test]
    fn lines_of_text_need_both_text_and_location() {
        let line = |text: &str, x: f32| OcrRegion {
            quad: Quad {
                points: square(x, 10.0),
            },
            text: text.into(),
            score: None,
        };
        let truth = |text: &str| Labelled {
            label: text.into(),
            shape: Quad {
                points: square(0.0, 10.0),
            },
        };
        for (text, x, f1) in [
            ("FIRE", 0.0, 1.0),
            ("FIRE", 2.0, 1.0),
            ("FIRE", 5.0, 0.0),
            ("FIRST", 0.0, 0.0),
        ] {
            let sample = (
                Parsed::OcrRegions(vec![line(text, x)]),
                Truth::Quads(vec![truth("FIRE")]),
            );
            let values = values(TaskKind::OcrWithRegion, &[sample]);
            assert_eq!(values[&Metric::F1], f1, "{text} {x}");
        }
    }

    #[test]
    fn masks_are_averaged_over_samples() {
        let outline = |x: f32| Polygon {
            points: square(x, 10.0).to_vec(),
        };
        let answer = |x: f32| {
            Parsed::Segmentations(vec![Segmentation {
                polygons: vec![outline(x)],
                label: String::new(),
                score: None,
            }])
        };
        let truth = || Truth::Mask(vec![outline(0.0)]);
        let samples = [
            (answer(0.0), truth()),
            // 5 · 10 of 150
            (answer(5.0), truth()),
            (Parsed::Segmentations(Vec::new()), truth()),
        ];
        let values = values(TaskKind::RegionToSegmentation, &samples);
        assert!((values[&Metric::MaskIou] - 4.0 / 9.0).abs() < 1e-6);
        assert_eq!(values.len(), 1);
    }

    #[test]
    fn texts_are_right_or_wrong_and_read_text_also_by_character() {
        let sample = |answer: &str, truth: &str| (Parsed::Text(answer.into()), Truth::Text(truth.into()));
        let samples = [
            sample(" FIRE  EXIT", "FIRE EXIT"),
            // one of four wrong, and one too many
            sample("NEVTS", "NEWS"),
            sample("stop", "STOP"),
        ];
        let read = values(TaskKind::Ocr, &samples);
        assert_eq!(read[&Metric::Exact], 1.0 / 3.0);
        assert_eq!(read[&Metric::CharacterErrorRate], 6.0 / 17.0);
        let captions = values(TaskKind::Caption, &samples);
        assert_eq!(
            captions.into_iter().collect::<Vec<_>>(),
            [(Metric::Exact, 1.0 / 3.0)]
        );
    }

    #[test]
    fn only_region_tasks_may_add_locations() {
        let sample = [(
            Parsed::Text("star<loc_1><loc_2><loc_3><loc_4>".into()),
            Truth::Text("star".into()),
        )];
        assert_eq!(values(TaskKind::RegionToCategory, &sample)[&Metric::Exact], 1.0);
        assert_eq!(values(TaskKind::Caption, &sample)[&Metric::Exact], 0.0);
    }
}
