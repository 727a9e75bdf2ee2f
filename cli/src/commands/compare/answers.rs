//! The comparison of two models' answers to one task about one image.

use florence2::{Florence2, ImageFeatures, Output, RunOptions, Task};
use image::RgbImage;
use serde::Serialize;

use super::divergence::{Divergence, next_token_logits, shared_prefix};
use crate::error::Result;
use crate::metrics::{Content, content};

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
    /// The comparison of the answers' contents.
    pub content: Content,
    /// The candidate's sequence score minus the reference's sequence score.
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

impl Comparer<'_> {
    /// Encodes an image with both models.
    pub fn encode(&self, image: &RgbImage) -> Result<Features> {
        Ok(Features {
            reference: self.reference.encode_image(image)?,
            candidate: self.candidate.encode_image(image)?,
        })
    }

    /// Runs a task on both models and compares the answers.
    pub fn compare(&self, path: &str, image: &Features, task: &Task) -> Result<AnswerComparison> {
        let reference = self.reference.run_with(&image.reference, task, &self.options)?;
        let candidate = self.candidate.run_with(&image.candidate, task, &self.options)?;
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

#[cfg(test)]
mod tests {
    use super::likeliest;

    #[test]
    fn the_likeliest_is_the_first_of_equals() {
        assert_eq!(likeliest(&[1.0, 3.0, 3.0]), Some(1));
        assert_eq!(likeliest(&[]), None);
    }
}
