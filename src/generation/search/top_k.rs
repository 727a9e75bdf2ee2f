//! The candidates of a step that rank highest.

use crate::generation::math::scan_above;

/// A token that may continue a beam.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Candidate {
    /// The index of the beam that the token continues.
    pub beam: usize,
    /// The token's id.
    pub token: u32,
    /// The token's log-probability after the processors.
    pub log_prob: f32,
    /// The log-probability of the beam with the token: the sum of its tokens' `log_prob`.
    pub score: f32,
    /// The value that candidates are ordered by, the highest first: `score`, with Gumbel noise added in sampling.
    pub rank: f32,
}

/// The `limit` candidates that rank highest, the best first. Among equal ranks, earlier candidates are kept: the
/// lower beam, then the lower token. Impossible candidates (rank -∞ or NaN) are left out.
#[derive(Debug)]
pub(super) struct TopCandidates {
    limit: usize,
    candidates: Vec<Candidate>,
}

impl TopCandidates {
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            candidates: Vec::with_capacity(limit + 1),
        }
    }

    /// Returns the number of candidates that are kept.
    pub fn limit(&self) -> usize {
        self.limit
    }

    pub fn candidates(&self) -> &[Candidate] {
        &self.candidates
    }

    pub fn clear(&mut self) {
        self.candidates.clear();
    }

    /// Returns the rank that a candidate must exceed.
    fn threshold(&self) -> f32 {
        match self.candidates.last() {
            Some(last) if self.candidates.len() == self.limit => last.rank,
            _ => f32::NEG_INFINITY,
        }
    }

    pub fn push(&mut self, candidate: Candidate) {
        if candidate.rank > self.threshold() {
            let position = self
                .candidates
                .partition_point(|better| better.rank >= candidate.rank);
            self.candidates.insert(position, candidate);
            self.candidates.truncate(self.limit);
        }
    }

    /// Pushes every token as a continuation of `beam`, whose score so far is `beam_score`.
    pub fn scan(&mut self, beam: usize, beam_score: f32, log_probs: &[f32]) {
        scan_above(
            log_probs,
            beam_score,
            self.threshold(),
            &mut |first_token, log_probs| {
                self.push_all(beam, beam_score, first_token, log_probs);
                self.threshold()
            },
        );
    }

    fn push_all(&mut self, beam: usize, beam_score: f32, first_token: usize, log_probs: &[f32]) {
        for (token, &log_prob) in (first_token as u32..).zip(log_probs) {
            let score = log_prob + beam_score;
            self.push(Candidate {
                beam,
                token,
                log_prob,
                score,
                rank: score,
            });
        }
    }

    /// Pushes every token with noise from `noise` (Gumbel-distributed): the best ranks are then a draw without replacement by
    /// the probabilities (the Gumbel-max trick), as with `torch.multinomial`.
    pub fn scan_sampling(
        &mut self,
        beam: usize,
        beam_score: f32,
        log_probs: &[f32],
        mut noise: impl FnMut() -> f32,
    ) {
        for (token, &log_prob) in (0u32..).zip(log_probs) {
            if log_prob > f32::NEG_INFINITY {
                let score = log_prob + beam_score;
                self.push(Candidate {
                    beam,
                    token,
                    log_prob,
                    score,
                    rank: score + noise(),
                });
            }
        }
    }

    /// Sorts drawn candidates by their scores, the best first.
    pub fn sort_by_score(&mut self) {
        self.candidates.sort_by(|a, b| b.score.total_cmp(&a.score));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_a_stable_sort() {
        let values: Vec<f32> = (0..1003u32)
            .map(|i| -((i.wrapping_mul(2_654_435_761) >> 24) as f32))
            .collect();
        let mut top = TopCandidates::new(9);
        let mut all: Vec<(usize, u32, f32)> = Vec::new();
        for (beam, beam_score) in [(0, -1.0f32), (1, -0.5), (2, -1e9)] {
            top.scan(beam, beam_score, &values);
            all.extend(
                (0u32..)
                    .zip(&values)
                    .map(|(token, value)| (beam, token, value + beam_score)),
            );
        }
        all.sort_by(|a, b| b.2.total_cmp(&a.2));
        let found: Vec<_> = top
            .candidates()
            .iter()
            .map(|c| (c.beam, c.token, c.score))
            .collect();
        assert_eq!(found, all[..9]);
    }

    #[test]
    fn drawn_candidates_are_sorted_by_score() {
        let mut top = TopCandidates::new(3);
        let mut noise = [0.0, 9.0, 8.0, 7.0].into_iter();
        top.scan_sampling(0, 0.0, &[-0.5, -4.0, -1.0, -2.0], || noise.next().unwrap_or(0.0));
        let tokens = |top: &TopCandidates| top.candidates().iter().map(|c| c.token).collect::<Vec<_>>();
        assert_eq!(tokens(&top), [2, 1, 3]);
        top.sort_by_score();
        assert_eq!(tokens(&top), [2, 3, 1]);
    }

    #[test]
    fn impossible_tokens_are_left_out() {
        let mut top = TopCandidates::new(4);
        top.scan(0, 0.0, &[f32::NEG_INFINITY, -1.0, f32::NAN, f32::NEG_INFINITY]);
        assert_eq!(top.candidates().iter().map(|c| c.token).collect::<Vec<_>>(), [1]);
    }
}
