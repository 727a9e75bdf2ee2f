//! The first difference of two answers.

use florence2::{Florence2, ImageFeatures, Task};
use serde::Serialize;

use crate::error::Result;

/// The first difference of two answers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Divergence {
    /// The number of tokens before it.
    pub position: usize,
    /// The reference's token; `None` at the end of its answer.
    pub reference: Option<Token>,
    /// The candidate's token; `None` at the end of its answer.
    pub candidate: Option<Token>,
    /// The log-probability of the reference's token minus the log-probability of the candidate's token, both by the
    /// reference model. Near 0, it was a tie; below 0, later tokens decided the reference's search.
    pub gap: Option<f32>,
}

/// A token.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Token {
    pub id: u32,
    pub text: String,
}

impl Divergence {
    /// Finds the first difference of the token ids of two answers, the reference's first; `model` is the reference.
    pub fn find(
        model: &Florence2,
        image: &ImageFeatures,
        task: &Task,
        [reference, candidate]: [&[u32]; 2],
    ) -> Result<Self> {
        let position = shared_prefix(reference, candidate);
        let (one, other) = (reference.get(position).copied(), candidate.get(position).copied());
        let gap = match (one, other) {
            (Some(one), Some(other)) => {
                let prefix = reference.get(..position).unwrap_or_default();
                let logits = next_token_logits(model, image, task, prefix)?;
                // Both tokens have the same softmax denominator, so logits give the difference of log-probabilities.
                let logit = |id: u32| logits.get(id as usize).copied();
                logit(one).zip(logit(other)).map(|(one, other)| one - other)
            }
            _ => None,
        };
        let token = |id: u32| Token {
            id,
            text: model.tokenizer().decode(&[id]).text,
        };
        Ok(Self {
            position,
            reference: one.map(token),
            candidate: other.map(token),
            gap,
        })
    }
}

/// Returns the number of tokens before the first that differs.
pub fn shared_prefix(one: &[u32], other: &[u32]) -> usize {
    one.iter()
        .zip(other)
        .take_while(|(one, other)| one == other)
        .count()
}

/// Returns the logits after the tokens `answer` of an answer's start.
pub fn next_token_logits(
    model: &Florence2,
    image: &ImageFeatures,
    task: &Task,
    answer: &[u32],
) -> Result<Vec<f32>> {
    let mut ids = vec![model.generation_config().decoder_start_token_id];
    ids.extend_from_slice(answer);
    Ok(model.next_token_logits(image, task, &ids)?.to_vec())
}

#[cfg(test)]
mod tests {
    use super::shared_prefix;

    #[test]
    fn prefixes() {
        assert_eq!(shared_prefix(&[0, 5, 7, 2], &[0, 5, 8, 2]), 2);
        assert_eq!(shared_prefix(&[0, 5], &[0, 5, 8]), 2);
        assert_eq!(shared_prefix(&[], &[1]), 0);
    }
}
