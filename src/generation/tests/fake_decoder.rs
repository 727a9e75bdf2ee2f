//! A decoder whose logits are a hash of the last tokens: the twin of `fake_logits` in
//! `tests/reference/make_searches.py`.

use std::cell::Cell;
use std::collections::{HashSet, VecDeque};

use ndarray::{Array2, ArrayView2};
use serde::Deserialize;

use crate::error::{Error, Result};
use crate::generation::math::log_sum_exp;
use crate::generation::{Decoder, Logits, TopKLogits, TopKRow};

/// A fake model, whose logits are a hash of the last tokens.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct FakeModel {
    pub seed: u32,
    pub vocabulary: usize,
    /// The number of last tokens that the logits depend on.
    pub context: usize,
    pub scale: f32,
    /// Added to the logits of some tokens.
    pub bias: Vec<(usize, f32)>,
}

impl FakeModel {
    pub fn new(seed: u32, vocabulary: usize) -> Self {
        Self {
            seed,
            vocabulary,
            context: 2,
            scale: 2.0,
            bias: vec![(2, 2.0)],
        }
    }

    pub fn logits(&self, tokens: &[u32]) -> Vec<f32> {
        let mut state = mix(self.seed.wrapping_add((tokens.len() as u32) << 8));
        for token in &tokens[tokens.len().saturating_sub(self.context)..] {
            state = mix((state ^ token).wrapping_mul(0x9E37_79B1).wrapping_add(1));
        }
        let hash = |id: u32| mix(state ^ id.wrapping_mul(0x9E37_79B1));
        let unit = 1.0 / (1 << 21) as f32;
        let mut logits: Vec<f32> = (0..self.vocabulary as u32)
            .map(|id| (hash(id) >> 9) as f32 * unit * self.scale)
            .collect();
        for &(token, bias) in &self.bias {
            logits[token] += bias;
        }
        logits
    }
}

/// The finaliser of MurmurHash3.
fn mix(mut x: u32) -> u32 {
    x ^= x >> 16;
    x = x.wrapping_mul(0x85EB_CA6B);
    x ^= x >> 13;
    x = x.wrapping_mul(0xC2B2_AE35);
    x ^ (x >> 16)
}

/// A decoder of fake models, with one row for each admitted input. It keeps every row's history, as a cache would,
/// and records its steps.
pub(super) struct FakeDecoder {
    inputs: usize,
    /// Inputs that wait, with their models.
    waiting: VecDeque<(usize, FakeModel)>,
    /// Inputs at the same time, at most.
    max_batch: usize,
    /// Inputs that are admitted in one call, at most.
    max_admitted: usize,
    /// Each row's input, its model and the tokens it was fed.
    rows: Vec<(usize, FakeModel, Vec<u32>)>,
    logits: Array2<f32>,
    /// The number of top-k logits; `None`: all logits are returned.
    k: Option<usize>,
    top_k: FakeTopK,
    /// The row of `logits` of each row.
    logit_rows: Vec<usize>,
    /// Rows of each step, and tokens fed to each; those of admitted inputs too.
    pub steps: Vec<(usize, usize)>,
    /// Fails at this step.
    pub fails_at: Option<usize>,
}

impl FakeDecoder {
    /// All models must have the same vocabulary.
    pub fn new(models: &[FakeModel]) -> Self {
        Self {
            inputs: models.len(),
            waiting: models.iter().cloned().enumerate().collect(),
            max_batch: usize::MAX,
            max_admitted: usize::MAX,
            rows: Vec::new(),
            logits: Array2::zeros((0, 0)),
            k: None,
            top_k: FakeTopK::default(),
            logit_rows: Vec::new(),
            steps: Vec::new(),
            fails_at: None,
        }
    }

    /// Admits no more than `max_batch` inputs at the same time, and `max_admitted` in one call.
    pub fn with_limits(self, max_batch: usize, max_admitted: usize) -> Self {
        Self {
            max_batch,
            max_admitted,
            ..self
        }
    }

    /// Returns top-k logits.
    pub fn with_top_k(self, k: usize) -> Self {
        Self { k: Some(k), ..self }
    }

    /// Returns the number of times that all logits were asked for after the top k.
    pub fn fetched(&self) -> usize {
        self.top_k.fetched.get()
    }

    /// Returns the tokens that each row was fed.
    pub fn histories(&self) -> Vec<&[u32]> {
        self.rows.iter().map(|(_, _, tokens)| tokens.as_slice()).collect()
    }

    /// Returns the number of inputs with rows.
    fn used(&self) -> usize {
        let inputs: HashSet<usize> = self.rows.iter().map(|&(input, ..)| input).collect();
        inputs.len()
    }

    /// Feeds the rows from `first` on.
    fn feed<'t>(
        &mut self,
        first: usize,
        tokens: impl ExactSizeIterator<Item = &'t [u32]>,
    ) -> Result<Logits<'_>> {
        if self.fails_at == Some(self.steps.len()) {
            return Err(Error::InvalidGraph {
                graph: "fake".to_owned(),
                reason: "fails here".to_owned(),
            });
        }
        let rows = &mut self.rows[first..];
        assert!(tokens.len() == rows.len() && !rows.is_empty());
        let vocabulary = rows[0].1.vocabulary;
        // There is an unused row of logits before each input's.
        self.logits = Array2::from_elem((2 * rows.len(), vocabulary), f32::NAN);
        self.logit_rows.clear();
        let (mut at, mut last, mut width) = (0, None, 0);
        for ((input, model, history), tokens) in rows.iter_mut().zip(tokens) {
            history.extend(tokens);
            width = tokens.len();
            if last.replace(*input).is_some_and(|last| last != *input) {
                at += 1;
            }
            self.logits
                .row_mut(at)
                .assign(&ndarray::aview1(&model.logits(history)));
            self.logit_rows.push(at);
            at += 1;
        }
        self.steps.push((rows.len(), width));
        Ok(match self.k {
            None => Logits::new(self.logits.view()).at(&self.logit_rows),
            Some(k) => {
                self.top_k.select(k, &self.logits);
                Logits::top_k(&self.top_k).at(&self.logit_rows)
            }
        })
    }
}

/// The top-k logits, as a device would select them.
#[derive(Debug, Default)]
struct FakeTopK {
    all: Array2<f32>,
    rows: Vec<(Vec<i64>, Vec<f32>, f32)>,
    fetched: Cell<usize>,
}

impl FakeTopK {
    fn select(&mut self, k: usize, all: &Array2<f32>) {
        self.all = all.clone();
        let rows = all.rows().into_iter().map(|row| {
            let row = row.to_vec();
            let mut tokens: Vec<i64> = (0..row.len() as i64).collect();
            tokens.sort_by(|&a, &b| row[b as usize].total_cmp(&row[a as usize]));
            tokens.truncate(k);
            let logits: Vec<f32> = tokens.iter().map(|&token| row[token as usize]).collect();
            let max = logits.first().copied().unwrap_or(0.0);
            let log_sum_exp = -log_sum_exp(&row).normalize(max);
            (tokens, logits, log_sum_exp)
        });
        self.rows = rows.collect();
    }
}

impl TopKLogits for FakeTopK {
    fn rows(&self) -> usize {
        self.rows.len()
    }

    fn vocabulary(&self) -> usize {
        self.all.ncols()
    }

    fn row(&self, row: usize) -> Option<TopKRow<'_>> {
        let (tokens, logits, log_sum_exp) = self.rows.get(row)?;
        Some(TopKRow {
            tokens,
            logits,
            log_sum_exp: *log_sum_exp,
        })
    }

    fn all(&self) -> Result<ArrayView2<'_, f32>> {
        self.fetched.set(self.fetched.get() + 1);
        Ok(self.all.view())
    }
}

impl Decoder for FakeDecoder {
    fn inputs(&self) -> usize {
        self.inputs
    }

    fn admit(&mut self, prompt: &[u32]) -> Result<Option<Logits<'_>>> {
        assert!(!prompt.is_empty());
        let (first, room) = (self.rows.len(), self.max_batch - self.used());
        let admitted = room.min(self.max_admitted).min(self.waiting.len());
        if admitted == 0 {
            return Ok(None);
        }
        let admitted = self.waiting.drain(..admitted);
        self.rows
            .extend(admitted.map(|(input, model)| (input, model, Vec::new())));
        let prompts = vec![prompt; self.rows.len() - first];
        self.feed(first, prompts.into_iter()).map(Some)
    }

    fn rows(&self) -> usize {
        self.rows.len()
    }

    fn step(&mut self, tokens: &[u32]) -> Result<Logits<'_>> {
        self.feed(0, tokens.chunks(1))
    }

    fn reorder(&mut self, parents: &[usize]) -> Result<()> {
        self.rows = parents.iter().map(|&parent| self.rows[parent].clone()).collect();
        Ok(())
    }
}
