//! The searches of a batch, in the order of their rows in the decoder.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use super::DECODER;
use super::config::GenerationConfig;
use super::hooks::Hooks;
use super::logits::Logits;
use super::search::{self, Search, Workspace};
use super::sequence::Sequence;
use crate::error::{Error, Result};

/// The searches of all inputs: those that go on, those that wait, and what the others found.
pub(super) struct Batch<'a> {
    /// In the order of their rows.
    running: Vec<InputSearch<'a>>,
    /// In the order in which they join.
    waiting: VecDeque<InputSearch<'a>>,
    results: Vec<Vec<Sequence>>,
    /// For each row of the next step, the row of the last one that it continues.
    parents: Vec<usize>,
    /// For each row of the next step, what it is fed.
    tokens: Vec<u32>,
}

struct InputSearch<'a> {
    input: usize,
    search: Box<dyn Search + 'a>,
}

impl<'a> Batch<'a> {
    /// A search for each input; all wait.
    pub fn new(inputs: usize, config: &'a GenerationConfig) -> Self {
        Self {
            running: Vec::new(),
            waiting: (0..inputs)
                .map(|input| InputSearch {
                    input,
                    search: search::new(config),
                })
                .collect(),
            results: vec![Vec::new(); inputs],
            parents: Vec::new(),
            tokens: Vec::new(),
        }
    }

    /// Whether no search goes on or waits.
    pub fn is_done(&self) -> bool {
        self.running.is_empty() && self.waiting.is_empty()
    }

    /// How many searches wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// For each row of the next step, the row of the last one that it continues.
    pub fn parents(&self) -> &[usize] {
        &self.parents
    }

    /// Whether the next step's rows are the last one's.
    pub fn keeps_rows(&self, rows: usize) -> bool {
        self.parents.iter().copied().eq(0..rows)
    }

    /// For each row of the next step, what it is fed.
    ///
    /// # Errors
    /// If no search goes on: the decoder has not let in those that wait.
    pub fn tokens(&self) -> Result<&[u32]> {
        if self.running.is_empty() {
            return Err(invalid(format!(
                "it has no rows, and lets none of {} inputs join",
                self.waiting.len()
            )));
        }
        Ok(&self.tokens)
    }

    /// The sequences found for each input.
    pub fn into_results(self) -> Vec<Vec<Sequence>> {
        self.results
    }

    /// Takes `token` as the first of all searches, without asking the model.
    pub fn force(&mut self, token: u32, hooks: &mut Hooks<'_>) {
        self.running.extend(self.waiting.drain(..));
        for running in &mut self.running {
            running.search.force(token);
        }
        self.after_choice(hooks);
        self.waiting.extend(self.running.drain(..));
    }

    /// Lets in as many of the waiting searches as there are rows of logits, which are theirs, and chooses their next
    /// tokens.
    pub fn join(
        &mut self,
        logits: &Logits<'_>,
        workspace: &mut Workspace,
        hooks: &mut Hooks<'_>,
    ) -> Result<()> {
        let present = self.running.len();
        let joining = logits.rows().min(self.waiting.len());
        self.running.extend(self.waiting.drain(..joining));
        self.choose(present, self.tokens.len(), logits, workspace, hooks)
    }

    /// Chooses the next tokens of all searches that go on, by the logits of all rows.
    pub fn advance(
        &mut self,
        logits: &Logits<'_>,
        workspace: &mut Workspace,
        hooks: &mut Hooks<'_>,
    ) -> Result<()> {
        self.choose(0, 0, logits, workspace, hooks)
    }

    /// Chooses the next tokens of the searches from number `present` on, whose rows begin with `first_row`, by their
    /// logits. Those before them keep their rows, and wait for the next step with the tokens that they have.
    fn choose(
        &mut self,
        present: usize,
        first_row: usize,
        logits: &Logits<'_>,
        workspace: &mut Workspace,
        hooks: &mut Hooks<'_>,
    ) -> Result<()> {
        self.parents.clear();
        self.parents.extend(0..first_row);
        self.tokens.truncate(first_row);
        let mut first = 0;
        for InputSearch { search, .. } in self.running.iter_mut().skip(present) {
            let rows = first..first + search.next().len();
            let own = logits.slice(rows.clone()).ok_or_else(|| {
                invalid(format!(
                    "of {} rows of logits, {rows:?} are wanted",
                    logits.rows()
                ))
            })?;
            search.advance(own, workspace)?;
            for continuation in search.next() {
                self.parents.push(first_row + first + continuation.parent);
                self.tokens.push(continuation.token);
            }
            first = rows.end;
        }
        if first != logits.rows() {
            return Err(invalid(format!(
                "it gave {} rows of logits for {first} rows",
                logits.rows()
            )));
        }
        self.after_choice(hooks);
        Ok(())
    }

    /// Streams what was chosen, and takes leave of the searches that are done.
    fn after_choice(&mut self, hooks: &mut Hooks<'_>) {
        if let (Some(on_token), [InputSearch { search, .. }]) =
            (&mut hooks.on_token, self.running.as_mut_slice())
            && let Some(token) = search.last_token()
            && let ControlFlow::Break(()) = on_token(token)
        {
            search.stop();
        }
        let results = &mut self.results;
        self.running.retain_mut(|InputSearch { input, search }| {
            let goes_on = !search.next().is_empty();
            if !goes_on && let Some(result) = results.get_mut(*input) {
                *result = search.take_sequences();
            }
            goes_on
        });
    }
}

fn invalid(reason: String) -> Error {
    Error::InvalidGraph {
        graph: DECODER.to_owned(),
        reason,
    }
}
