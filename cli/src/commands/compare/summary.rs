//! The summary of many comparisons.

use serde::Serialize;

use super::answers::{AnswerComparison, Count};
use crate::metrics::{Content, Ratio};

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
    pub fn of<'a>(task: Option<&str>, answers: impl IntoIterator<Item = &'a AnswerComparison>) -> Self {
        let mut count = 0;
        let [mut tokens, mut forced, mut exact, mut text] = [Ratio::default(); 4];
        let [mut f1, mut iou, mut mask, mut score] = [Ratio::default(); 4];
        for answer in answers {
            count += 1;
            tokens.add(answer.same_tokens as f64, answer.tokens as f64);
            if let Some(Count { same, of }) = answer.teacher_forced {
                forced.add(same as f64, of as f64);
            }
            exact.add_one(answer.exact);
            score.add(f64::from(answer.score_difference.abs()), 1.0);
            match &answer.content {
                Content::Text { same } => text.add_one(*same),
                Content::Instances {
                    reference,
                    candidate,
                    ious,
                } => {
                    f1.add(2.0 * ious.len() as f64, (reference + candidate) as f64);
                    iou.add(ious.iter().sum(), ious.len() as f64);
                }
                Content::Mask { iou } => mask.add(*iou, 1.0),
            }
        }
        Self {
            task: task.map(str::to_owned),
            answers: count,
            token_agreement: tokens.value(),
            teacher_forced_agreement: forced.value(),
            exact: exact.value(),
            same_text: text.value(),
            f1: f1.value(),
            mean_iou: iou.value(),
            mask_iou: mask.value(),
            score_difference: score.value(),
        }
    }
}

#[cfg(test)]
mod tests {
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
        let summary = Summary::of(None, &answers);
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
        let none = Summary::of(Some("<OD>"), &[]);
        assert_eq!((none.answers, none.token_agreement, none.f1), (0, None, None));
    }
}
