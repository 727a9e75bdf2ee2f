//! A decoder whose logits are a hash of the last tokens: the twin of `fake_logits` in
//! `tests/reference/make_searches.py`.

use ndarray::{Array2, ArrayView2};
use serde::Deserialize;

use crate::error::{Error, Result};
use crate::generation::Decoder;

/// A made-up model.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct FakeModel {
    pub seed: u32,
    pub vocabulary: usize,
    /// How many of the last tokens the logits depend on.
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

/// Rows of made-up models, one for each input at first. It keeps every row's history, as a cache would, and counts
/// what it is asked for.
pub(super) struct FakeDecoder {
    /// Each row's model and the tokens it was fed.
    rows: Vec<(FakeModel, Vec<u32>)>,
    logits: Array2<f32>,
    /// Rows of each step, and tokens fed to each.
    pub steps: Vec<(usize, usize)>,
    /// Fails at this step.
    pub fails_at: Option<usize>,
}

impl FakeDecoder {
    /// All models must have the same vocabulary.
    pub fn new(models: &[FakeModel]) -> Self {
        let rows = models.iter().map(|model| (model.clone(), Vec::new())).collect();
        Self {
            rows,
            logits: Array2::zeros((0, 0)),
            steps: Vec::new(),
            fails_at: None,
        }
    }

    /// What each row was fed.
    pub fn histories(&self) -> Vec<&[u32]> {
        self.rows.iter().map(|(_, tokens)| tokens.as_slice()).collect()
    }
}

impl Decoder for FakeDecoder {
    fn rows(&self) -> usize {
        self.rows.len()
    }

    fn step(&mut self, tokens: ArrayView2<'_, u32>) -> Result<ArrayView2<'_, f32>> {
        if self.fails_at == Some(self.steps.len()) {
            return Err(Error::InvalidGraph {
                graph: "fake".to_owned(),
                reason: "fails here".to_owned(),
            });
        }
        assert_eq!(tokens.nrows(), self.rows.len());
        assert!(tokens.ncols() >= 1);
        self.steps.push(tokens.dim());
        let vocabulary = self.rows[0].0.vocabulary;
        self.logits = Array2::zeros((self.rows.len(), vocabulary));
        for (row, (model, history)) in self.rows.iter_mut().enumerate() {
            history.extend(tokens.row(row));
            self.logits
                .row_mut(row)
                .assign(&ndarray::aview1(&model.logits(history)));
        }
        Ok(self.logits.view())
    }

    fn reorder(&mut self, parents: &[usize]) -> Result<()> {
        self.rows = parents.iter().map(|&parent| self.rows[parent].clone()).collect();
        Ok(())
    }
}
