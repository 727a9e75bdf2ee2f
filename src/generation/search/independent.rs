//! Greedy search and sampling: independent sequences (`_sample` of transformers).

use rand_chacha::ChaCha8Rng;

use super::{Continuation, Search, Workspace, ended_by_model, length_divisor};
use crate::error::Result;
use crate::generation::config::GenerationConfig;
use crate::generation::logits::Logits;
use crate::generation::math::LogSumExp;
use crate::generation::random;
use crate::generation::sequence::Sequence;

/// `num_return_sequences` independent sequences of one input.
pub(super) struct IndependentSearch<'a> {
    config: &'a GenerationConfig,
    chains: Vec<Chain>,
    /// The chain of each row, once they have several.
    rows: Vec<usize>,
    next: Vec<Continuation>,
    /// Whether all chains are still the same sequence, in one row.
    is_shared: bool,
}

/// A running sequence, independent of the others.
struct Chain {
    /// With the start token.
    tokens: Vec<u32>,
    log_probs: Vec<f32>,
    has_ended: bool,
    random: ChaCha8Rng,
}

impl Chain {
    fn new(config: &GenerationConfig, index: usize) -> Self {
        Self {
            tokens: vec![config.decoder_start_token_id],
            log_probs: Vec::new(),
            has_ended: false,
            random: random::stream(config.seed, index as u64),
        }
    }

    fn choose(&mut self, scores: &[f32], log_sum_exp: LogSumExp, config: &GenerationConfig) {
        let token = if config.do_sample {
            random::draw(scores, log_sum_exp, &mut self.random)
        } else {
            log_sum_exp.argmax(scores)
        };
        let log_prob = scores
            .get(token)
            .map_or(f32::NEG_INFINITY, |score| log_sum_exp.normalize(*score));
        self.append(token as u32, log_prob, config);
    }

    fn append(&mut self, token: u32, log_prob: f32, config: &GenerationConfig) {
        self.has_ended = self.tokens.len() >= config.max_new_tokens || config.eos_token_ids.contains(&token);
        self.tokens.push(token);
        self.log_probs.push(log_prob);
    }

    fn into_sequence(self, config: &GenerationConfig) -> Sequence {
        let token_ids = self.tokens[1..].to_vec();
        let finished = token_ids
            .last()
            .is_some_and(|&token| ended_by_model(config, token_ids.len(), token));
        let score = self.log_probs.iter().sum::<f32>() / length_divisor(config, token_ids.len().max(1));
        Sequence {
            token_ids,
            token_log_probs: self.log_probs,
            score,
            finished,
        }
    }
}

impl<'a> IndependentSearch<'a> {
    pub fn new(config: &'a GenerationConfig) -> Self {
        let chains = config.num_return_sequences;
        Self {
            config,
            chains: (0..chains).map(|index| Chain::new(config, index)).collect(),
            rows: (0..chains).collect(),
            next: vec![Continuation {
                parent: 0,
                token: config.decoder_start_token_id,
            }],
            is_shared: true,
        }
    }

    /// Makes a row of the next step for each chain that has not ended.
    fn continue_chains(&mut self) {
        self.next.clear();
        let (chains, next, is_shared) = (&self.chains, &mut self.next, self.is_shared);
        let mut row = 0;
        self.rows.retain(|&index| {
            let chain = &chains[index];
            let parent = if is_shared { 0 } else { row };
            row += 1;
            if let (false, Some(&token)) = (chain.has_ended, chain.tokens.last()) {
                next.push(Continuation { parent, token });
            }
            !chain.has_ended
        });
    }
}

impl Search for IndependentSearch<'_> {
    fn next(&self) -> &[Continuation] {
        &self.next
    }

    fn advance(&mut self, logits: Logits<'_>, workspace: &mut Workspace) -> Result<()> {
        let mut log_sum_exp = None;
        for (row, &index) in self.rows.iter().enumerate() {
            let chain = &mut self.chains[index];
            let loaded = match log_sum_exp.filter(|_| self.is_shared) {
                Some(loaded) => loaded,
                None => workspace.load_logits(logits, row, &chain.tokens)?,
            };
            chain.choose(workspace.scores(), loaded, self.config);
            log_sum_exp = Some(loaded);
        }
        self.continue_chains();
        self.is_shared = false;
        Ok(())
    }

    fn force(&mut self, token: u32) {
        for chain in &mut self.chains {
            chain.append(token, 0.0, self.config);
        }
        self.continue_chains();
        self.next.truncate(1);
    }

    fn last_token(&self) -> Option<u32> {
        match self.chains.as_slice() {
            [chain] => chain.tokens.last().copied(),
            _ => None,
        }
    }

    fn stop(&mut self) {
        self.next.clear();
    }

    fn take_sequences(&mut self) -> Vec<Sequence> {
        let config = self.config;
        self.chains
            .drain(..)
            .map(|chain| chain.into_sequence(config))
            .collect()
    }
}
