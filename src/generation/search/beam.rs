//! Beam search, with or without sampling: `_beam_search` of transformers.

use rand_chacha::ChaCha8Rng;

use super::top_k::{Candidate, TopCandidates};
use super::{Continuation, Search, Workspace, ended_by_model, length_divisor};
use crate::error::Result;
use crate::generation::config::{EarlyStopping, GenerationConfig};
use crate::generation::logits::Logits;
use crate::generation::random;
use crate::generation::sequence::Sequence;

/// The score that transformers gives beams that must lose: beams that have ended and, before the first step, all
/// beams but the first.
const LOSING_SCORE: f32 = -1e9;

/// Beam search for one input.
pub(super) struct BeamSearch<'a> {
    config: &'a GenerationConfig,
    /// Running beams, the best first.
    running: Vec<Beam>,
    /// The last step's beams, whose memory the next step reuses.
    last: Vec<Beam>,
    /// Sequences that have ended, the best first; at most `num_beams`.
    finished: Vec<Sequence>,
    candidates: TopCandidates,
    /// The candidates by their scores as running beams.
    ranking: Vec<(f32, Candidate)>,
    next: Vec<Continuation>,
    /// For sampling.
    random: ChaCha8Rng,
}

/// A running sequence.
#[derive(Debug, Clone, Default)]
struct Beam {
    /// With the start token.
    tokens: Vec<u32>,
    log_probs: Vec<f32>,
    /// Sum of `log_probs`, or the losing score.
    score: f32,
}

impl Beam {
    fn continue_from(&mut self, parent: &Self, candidate: &Candidate, score: f32) {
        self.tokens.clone_from(&parent.tokens);
        self.tokens.push(candidate.token);
        self.log_probs.clone_from(&parent.log_probs);
        self.log_probs.push(candidate.log_prob);
        self.score = score;
    }

    fn finish(&self, candidate: &Candidate, score: f32, config: &GenerationConfig) -> Sequence {
        let mut token_ids = self.tokens[1..].to_vec();
        token_ids.push(candidate.token);
        let mut token_log_probs = self.log_probs.clone();
        token_log_probs.push(candidate.log_prob);
        let finished = ended_by_model(config, token_ids.len(), candidate.token);
        Sequence {
            token_ids,
            token_log_probs,
            score,
            finished,
        }
    }
}

impl<'a> BeamSearch<'a> {
    pub fn new(config: &'a GenerationConfig) -> Self {
        let beams = config.num_beams;
        let start = config.decoder_start_token_id;
        let beam = |index| Beam {
            tokens: vec![start],
            log_probs: Vec::new(),
            // All beams start as the same sequence: only the first may continue.
            score: if index == 0 { 0.0 } else { LOSING_SCORE },
        };
        // If all of the best end, enough are left to continue.
        let candidates = beams * (1 + config.eos_token_ids.len()).max(2);
        Self {
            config,
            running: (0..beams).map(beam).collect(),
            last: vec![Beam::default(); beams],
            finished: Vec::with_capacity(beams + 1),
            candidates: TopCandidates::new(candidates),
            ranking: Vec::with_capacity(candidates),
            next: vec![Continuation {
                parent: 0,
                token: start,
            }],
            random: random::stream(config.seed, 0),
        }
    }

    /// Returns whether all beams are still the same sequence, in one row.
    fn is_shared(&self) -> bool {
        self.next.len() == 1
    }

    /// Finishes beams and continues others, by the candidates of this step.
    fn select(&mut self) {
        let generated = self
            .candidates
            .candidates()
            .first()
            .map_or(0, |best| self.running[best.beam].tokens.len());
        let at_limit = generated >= self.config.max_new_tokens;
        self.finish_beams(generated, at_limit);
        self.continue_beams(at_limit);
        if at_limit || self.is_full_and_satisfied() || !self.can_improve(generated) {
            self.next.clear();
        }
    }

    /// Adds the candidates that end to `finished`, if they are among the best `num_beams`. The other candidates only
    /// continue beams.
    fn finish_beams(&mut self, generated: usize, at_limit: bool) {
        let beams = self.config.num_beams;
        for candidate in self.candidates.candidates().iter().take(beams) {
            let score = candidate.score / length_divisor(self.config, generated);
            let ends = at_limit || self.config.eos_token_ids.contains(&candidate.token);
            if ends && score > worst_score(&self.finished, beams) {
                let position = self.finished.partition_point(|better| better.score >= score);
                let parent = &self.running[candidate.beam];
                self.finished
                    .insert(position, parent.finish(candidate, score, self.config));
                self.finished.truncate(beams);
            }
        }
    }

    /// Makes the best candidates that do not end the running beams.
    fn continue_beams(&mut self, at_limit: bool) {
        let is_shared = self.is_shared();
        self.ranking.clear();
        for candidate in self.candidates.candidates() {
            let ends = at_limit || self.config.eos_token_ids.contains(&candidate.token);
            let score = if ends {
                candidate.score + LOSING_SCORE
            } else {
                candidate.score
            };
            self.ranking.push((score, *candidate));
        }
        self.ranking.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        self.ranking.truncate(self.config.num_beams);

        std::mem::swap(&mut self.running, &mut self.last);
        self.running.resize_with(self.ranking.len(), Beam::default);
        self.next.clear();
        for (beam, (score, candidate)) in self.running.iter_mut().zip(&self.ranking) {
            beam.continue_from(&self.last[candidate.beam], candidate, *score);
            let parent = if is_shared { 0 } else { candidate.beam };
            self.next.push(Continuation {
                parent,
                token: candidate.token,
            });
        }
        if is_shared && self.next.iter().all(|next| *next == self.next[0]) {
            self.next.truncate(1);
        }
    }

    fn is_full_and_satisfied(&self) -> bool {
        self.config.early_stopping == EarlyStopping::WhenFull && self.finished.len() == self.config.num_beams
    }

    /// Whether the best running beam could still beat the worst finished sequence
    /// (`_check_early_stop_heuristic`).
    fn can_improve(&self, generated: usize) -> bool {
        let favours_length = self.config.length_penalty > 0.0;
        let best_length = match self.config.early_stopping {
            EarlyStopping::Never if favours_length => self.config.max_new_tokens,
            _ => generated,
        };
        let best = self.running.first().map_or(f32::NEG_INFINITY, |best| best.score);
        best / length_divisor(self.config, best_length) > worst_score(&self.finished, self.config.num_beams)
    }
}

/// Returns the score that a sequence must exceed to be among the `beams` finished ones.
fn worst_score(finished: &[Sequence], beams: usize) -> f32 {
    match finished.last() {
        Some(worst) if finished.len() == beams => worst.score,
        _ => LOSING_SCORE,
    }
}

impl Search for BeamSearch<'_> {
    fn next(&self) -> &[Continuation] {
        &self.next
    }

    fn advance(&mut self, logits: Logits<'_>, workspace: &mut Workspace) -> Result<()> {
        self.candidates.clear();
        let is_shared = self.is_shared();
        for (index, beam) in self.running.iter().enumerate() {
            if index == 0 || !is_shared {
                let wanted = (self.candidates.limit(), beam.score);
                workspace.load_log_probs(logits, index, &beam.tokens, wanted)?;
            }
            let log_probs = workspace.scores();
            if self.config.do_sample {
                let noise = || random::gumbel(&mut self.random);
                self.candidates.scan_sampling(index, beam.score, log_probs, noise);
            } else {
                self.candidates.scan(index, beam.score, log_probs);
            }
        }
        if self.config.do_sample {
            // Drawn in another order: transformers 5.24 goes through them best first, too.
            self.candidates.sort_by_score();
        }
        self.select();
        Ok(())
    }

    fn force(&mut self, token: u32) {
        self.candidates.clear();
        for (index, beam) in self.running.iter().enumerate() {
            self.candidates.push(Candidate {
                beam: index,
                token,
                log_prob: 0.0,
                score: beam.score,
                rank: beam.score,
            });
        }
        self.select();
    }

    fn last_token(&self) -> Option<u32> {
        None
    }

    fn stop(&mut self) {
        self.next.clear();
    }

    fn take_sequences(&mut self) -> Vec<Sequence> {
        if self.finished.is_empty() {
            // Every continuation was impossible.
            self.finished.push(Sequence {
                score: LOSING_SCORE,
                ..Sequence::default()
            });
        }
        self.finished.truncate(self.config.num_return_sequences);
        std::mem::take(&mut self.finished)
    }
}
