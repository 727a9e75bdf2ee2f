//! The summary of many comparisons.

use serde::Serialize;

use super::answers::{AnswerComparison, Content};

/// The summary of one task's comparisons, or of all. A figure without a denominator is `None`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// The task's tag; `None` in the summary of all tasks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// The number of answers compared.
    pub answers: usize,
    /// Share of all tokens that precede the first difference of their answer.
    pub token_agreement: Option<f64>,
    /// Share of the positions in the reference's answers at which both models rank the same token first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub teacher_forced_agreement: Option<f64>,
    /// Share of the answers whose tokens are all the same.
    pub exact: Option<f64>,
    /// Share of the texts that are the same.
    pub same_text: Option<f64>,
    /// `2 · matched / (the reference's + the candidate's instances)`.
    pub f1: Option<f64>,
    /// Mean IoU of the matched instances.
    pub mean_iou: Option<f64>,
    /// Mean IoU of the answers' masks.
    pub mask_iou: Option<f64>,
    /// Mean of the absolute differences of the sequences' scores.
    pub score_difference: Option<f64>,
}

impl Summary {
    /// Summarises `answers`.
    pub fn of<'a>(task: Option<&str>, answers: impl Iterator<Item = &'a AnswerComparison> + Clone) -> Self {
        let count = answers.clone().count();
        let contents = || answers.clone().map(|answer| &answer.content);
        let tokens = answers.clone().map(|answer| (answer.same_tokens, answer.tokens));
        let forced = answers.clone().filter_map(|answer| answer.teacher_forced);
        let ious = || {
            contents().flat_map(|content| match content {
                Content::Instances { ious, .. } => ious.as_slice(),
                _ => &[],
            })
        };
        let instances: usize = contents()
            .map(|content| match content {
                Content::Instances {
                    reference, candidate, ..
                } => reference + candidate,
                _ => 0,
            })
            .sum();
        Self {
            task: task.map(str::to_owned),
            answers: count,
            token_agreement: share(tokens),
            teacher_forced_agreement: share(forced.map(|count| (count.same, count.of))),
            exact: share(answers.clone().map(|answer| (usize::from(answer.exact), 1))),
            same_text: share(contents().filter_map(|content| match content {
                Content::Text { same } => Some((usize::from(*same), 1)),
                _ => None,
            })),
            f1: share([(2 * ious().count(), instances)].into_iter()),
            mean_iou: mean(ious().copied()),
            mask_iou: mean(contents().filter_map(|content| match content {
                Content::Mask { iou } => Some(*iou),
                _ => None,
            })),
            score_difference: mean(answers.map(|answer| f64::from(answer.score_difference.abs()))),
        }
    }
}

/// Returns the sum of the parts over the sum of the wholes, or `None` if the latter is 0.
fn share(parts: impl Iterator<Item = (usize, usize)>) -> Option<f64> {
    let (part, whole) = parts.fold((0, 0), |(part, whole), (p, w)| (part + p, whole + w));
    (whole > 0).then(|| part as f64 / whole as f64)
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0usize), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / count as f64)
}

#[cfg(test)]
mod tests {
    use super::super::answers::Count;
    use super::*;

    fn answer(same_tokens: usize, tokens: usize, content: Content) -> AnswerComparison {
        AnswerComparison {
            path: "a.png".into(),
            task: "<OD>".into(),
            exact: same_tokens == tokens,
            same_tokens,
            tokens,
            teacher_forced: Some(Count { same: 3, of: 4 }),
            content,
            score_difference: -0.5,
            divergence: None,
        }
    }

    #[test]
    fn figures_are_of_all_answers_together() {
        let answers = [
            answer(10, 10, Content::Text { same: true }),
            answer(
                5,
                30,
                Content::Instances {
                    reference: 3,
                    candidate: 2,
                    ious: vec![1.0, 0.8],
                },
            ),
            answer(1, 10, Content::Mask { iou: 0.5 }),
            answer(4, 10, Content::Text { same: false }),
        ];
        let summary = Summary::of(None, answers.iter());
        assert_eq!(
            summary,
            Summary {
                task: None,
                answers: 4,
                token_agreement: Some(20.0 / 60.0),
                teacher_forced_agreement: Some(0.75),
                exact: Some(0.25),
                same_text: Some(0.5),
                f1: Some(0.8),
                mean_iou: Some(0.9),
                mask_iou: Some(0.5),
                score_difference: Some(0.5),
            }
        );
    }

    #[test]
    fn a_summary_of_nothing_has_no_figures() {
        let none = Summary::of(Some("<OD>"), [].iter());
        assert_eq!((none.answers, none.token_agreement, none.f1), (0, None, None));
    }
}
