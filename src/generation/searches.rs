//! The searches of all inputs, in the order of their rows in the decoder.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use super::config::GenerationConfig;
use super::hooks::Hooks;
use super::invalid_decoder;
use super::logits::Logits;
use super::search::{self, Search, Workspace};
use super::sequence::Sequence;
use crate::error::Result;

/// The searches of all inputs, and the sequences of those that are done.
pub(super) struct Searches<'a> {
    /// In the order of their rows.
    running: Vec<InputSearch<'a>>,
    /// In the order of their admission.
    waiting: VecDeque<InputSearch<'a>>,
    results: Vec<Vec<Sequence>>,
    /// The row of the last step that each row of the next step continues.
    parents: Vec<usize>,
    /// The token that each row of the next step is fed.
    tokens: Vec<u32>,
}

struct InputSearch<'a> {
    input: usize,
    search: Box<dyn Search + 'a>,
}

impl<'a> Searches<'a> {
    /// Creates a waiting search for each input.
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

    /// Returns whether no search runs or waits.
    pub fn is_done(&self) -> bool {
        self.running.is_empty() && self.waiting.is_empty()
    }

    /// Returns the number of searches whose input is not admitted yet.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Returns the row of the last step that each row of the next step continues.
    pub fn parents(&self) -> &[usize] {
        &self.parents
    }

    /// Returns whether the next step has the same rows as the last step, in the same order.
    pub fn keeps_rows(&self, rows: usize) -> bool {
        self.parents.iter().copied().eq(0..rows)
    }

    /// Returns the token that each row of the next step is fed.
    ///
    /// # Errors
    /// [`Error::InvalidGraph`](crate::Error::InvalidGraph) if no search runs because the decoder admits no waiting input.
    pub fn tokens(&self) -> Result<&[u32]> {
        if self.running.is_empty() {
            return Err(invalid_decoder(format!(
                "it has no rows and admits none of {} inputs",
                self.waiting.len()
            )));
        }
        Ok(&self.tokens)
    }

    /// Returns the sequences of each input, the best first.
    pub fn into_results(self) -> Vec<Vec<Sequence>> {
        self.results
    }

    /// Appends the forced first token to all searches, without running the model.
    pub fn force(&mut self, token: u32, hooks: &mut Hooks<'_>) {
        self.running.extend(self.waiting.drain(..));
        for running in &mut self.running {
            running.search.force(token);
        }
        self.after_choice(hooks);
        self.waiting.extend(self.running.drain(..));
    }

    /// Starts a waiting search for each row of `logits`, in their order, and chooses its first tokens from that row.
    ///
    /// # Errors
    /// Those of [`advance`](Self::advance).
    pub fn admit(
        &mut self,
        logits: &Logits<'_>,
        workspace: &mut Workspace,
        hooks: &mut Hooks<'_>,
    ) -> Result<()> {
        let present = self.running.len();
        let admitted = logits.rows().min(self.waiting.len());
        self.running.extend(self.waiting.drain(..admitted));
        self.choose(present, self.tokens.len(), logits, workspace, hooks)
    }

    /// Chooses the next tokens of all running searches from `logits`, which has all their rows in order.
    pub fn advance(
        &mut self,
        logits: &Logits<'_>,
        workspace: &mut Workspace,
        hooks: &mut Hooks<'_>,
    ) -> Result<()> {
        self.choose(0, 0, logits, workspace, hooks)
    }

    /// Chooses the next tokens of the running searches from index `present` on, by their logits. Their rows start at
    /// `first_row`. Earlier searches keep their rows and tokens for the next step.
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
                invalid_decoder(format!(
                    "it returned {} rows of logits, but rows {rows:?} are needed",
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
            return Err(invalid_decoder(format!(
                "it returned {} rows of logits for {first} rows",
                logits.rows()
            )));
        }
        self.after_choice(hooks);
        Ok(())
    }

    /// Streams the chosen token, and removes the searches that are done.
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
            let is_done = search.next().is_empty();
            if is_done && let Some(result) = results.get_mut(*input) {
                *result = search.take_sequences();
            }
            !is_done
        });
    }
}
