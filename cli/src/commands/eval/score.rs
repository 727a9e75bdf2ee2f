//! The score of one answer.

use florence2::{Parsed, TaskInput, TaskKind};

use super::metric::{Metric, Tally};
use crate::metrics::{Content, character_errors, content, normalise, without_locations};

/// Adds an answer to the metrics of its task.
pub fn score(tally: &mut Tally, task: TaskKind, answer: &Parsed, truth: &Parsed) {
    let answer = match answer {
        Parsed::Text(text) if task.spec().input == TaskInput::Region => Parsed::Text(without_locations(text)),
        _ => answer.clone(),
    };
    match content(truth, &answer) {
        Content::Text { same } => tally.of(Metric::Exact).add_one(same),
        Content::Instances {
            reference,
            candidate,
            ious,
        } => {
            let matched = ious.len() as f64;
            tally
                .of(Metric::F1)
                .add(2.0 * matched, (reference + candidate) as f64);
            tally.of(Metric::MeanIou).add(ious.iter().sum(), matched);
        }
        // Nothing overlaps an empty mask, an empty answer included.
        Content::Mask { .. } if *truth == Parsed::Segmentations(Vec::new()) => {
            tally.of(Metric::MaskIou).add(0.0, 1.0);
        }
        Content::Mask { iou } => tally.of(Metric::MaskIou).add(iou, 1.0),
    }
    if matches!(task, TaskKind::Ocr | TaskKind::RegionToOcr)
        && let (Parsed::Text(answer), Parsed::Text(truth)) = (&answer, truth)
    {
        let (errors, length) = character_errors(&normalise(answer), &normalise(truth));
        tally
            .of(Metric::CharacterErrorRate)
            .add(errors as f64, length as f64);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use florence2::{BoundingBox, Detection, OcrRegion, Point, Polygon, Quad, Segmentation};

    use super::*;

    fn values(task: TaskKind, samples: &[(Parsed, Parsed)]) -> BTreeMap<Metric, f64> {
        let mut tally = Tally::default();
        for (answer, truth) in samples {
            score(&mut tally, task, answer, truth);
        }
        tally.values()
    }

    fn detection(label: &str, x2: f32) -> Detection {
        Detection::new(BoundingBox::new(0.0, 0.0, x2, 10.0), label)
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
                Parsed::Detections(vec![detection(" a star", 10.0), detection("ring", 10.0)]),
            ),
            // one found at an IoU of 0.6, one false positive
            (
                Parsed::Detections(vec![detection("ring", 6.0), detection("star", 10.0)]),
                Parsed::Detections(vec![detection("ring", 10.0)]),
            ),
            // correctly empty
            (Parsed::Detections(Vec::new()), Parsed::Detections(Vec::new())),
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
            Parsed::Detections(vec![detection("ring", 10.0)]),
        );
        let values = values(TaskKind::ObjectDetection, &[missed]);
        assert_eq!(values.into_iter().collect::<Vec<_>>(), [(Metric::F1, 0.0)]);
    }

    #[test]
    fn an_outline_counts_as_its_box() {
        let answer = Parsed::OpenVocabulary {
            detections: vec![detection("star", 10.0)],
            segmentations: vec![Segmentation::new(
                vec![Polygon {
                    points: square(0.0, 10.0).to_vec(),
                }],
                "star",
            )],
        };
        let truths = Parsed::Detections(vec![detection("star", 10.0), detection("star", 10.0)]);
        let values = values(TaskKind::OpenVocabularyDetection, &[(answer, truths)]);
        assert_eq!(values[&Metric::F1], 1.0);
    }

    #[test]
    fn lines_of_text_need_both_text_and_location() {
        let line = |text: &str, x: f32| {
            OcrRegion::new(
                Quad {
                    points: square(x, 10.0),
                },
                text,
            )
        };
        for (text, x, f1) in [
            ("FIRE", 0.0, 1.0),
            ("FIRE", 2.0, 1.0),
            ("FIRE", 5.0, 0.0),
            ("FIRST", 0.0, 0.0),
        ] {
            let sample = (
                Parsed::OcrRegions(vec![line(text, x)]),
                Parsed::OcrRegions(vec![line("FIRE", 0.0)]),
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
        let answer = |x: f32| Parsed::Segmentations(vec![Segmentation::new(vec![outline(x)], "")]);
        let samples = [
            (answer(0.0), answer(0.0)),
            // 5 · 10 of 150
            (answer(5.0), answer(0.0)),
            (Parsed::Segmentations(Vec::new()), answer(0.0)),
        ];
        let values = values(TaskKind::RegionToSegmentation, &samples);
        assert!((values[&Metric::MaskIou] - 4.0 / 9.0).abs() < 1e-6);
        assert_eq!(values.len(), 1);
    }

    #[test]
    fn texts_are_right_or_wrong_and_read_text_also_by_character() {
        let sample = |answer: &str, truth: &str| (Parsed::Text(answer.into()), Parsed::Text(truth.into()));
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
            Parsed::Text("star".into()),
        )];
        assert_eq!(values(TaskKind::RegionToCategory, &sample)[&Metric::Exact], 1.0);
        assert_eq!(values(TaskKind::Caption, &sample)[&Metric::Exact], 0.0);
    }
}
