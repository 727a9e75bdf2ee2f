//! The loop: decoder steps for all inputs at once, a search for each.

use std::ops::ControlFlow;

use ndarray::{ArrayView2, s};

use super::config::GenerationConfig;
use super::decoder::Decoder;
use super::hooks::Hooks;
use super::search::{self, Search, Workspace};
use super::sequence::Sequence;
use crate::error::{Error, Result};

/// Generates for every input, that is, every row of the fresh `decoder`: gives a list of
/// `num_return_sequences` sequences for each, best first (fewer, but at least one, where the model has no more).
///
/// An input's sequences do not depend on the inputs beside it. Its rows leave the decoder as it is done.
///
/// # Errors
/// - [`Error::InvalidOption`] if `config` makes no sense, or `hooks` ask for tokens of a search with several rows.
/// - [`Error::Cancelled`] if `hooks` say so.
/// - [`Error::InvalidGraph`] if the decoder's logits are of another shape, or not numbers.
/// - What the decoder reports.
pub fn generate(
    decoder: &mut dyn Decoder,
    config: &GenerationConfig,
    mut hooks: Hooks<'_>,
) -> Result<Vec<Vec<Sequence>>> {
    config.validate()?;
    let inputs = decoder.rows();
    if hooks.on_token.is_some() && (inputs > 1 || config.uses_beams() || config.num_return_sequences > 1) {
        return Err(Error::InvalidOption {
            name: "on_token",
            reason: "tokens can be streamed of one input and one sequence only; set num_beams and \
                     num_return_sequences to 1"
                .to_owned(),
        });
    }
    let mut batch = Batch::new(inputs, config);
    let mut workspace = Workspace::new(config);
    let mut prompt = vec![config.decoder_start_token_id];
    if let Some(token) = search::forced_first_token(config) {
        batch.force(token, &mut hooks);
        prompt.push(token);
    }
    batch.tokens = prompt.repeat(batch.running.len());
    while !batch.running.is_empty() {
        if hooks.is_cancelled.is_some_and(|is_cancelled| is_cancelled()) {
            return Err(Error::Cancelled);
        }
        let rows = decoder.rows();
        let logits = decoder.step(matrix(&batch.tokens, rows)?)?;
        check_logits(logits, rows, config)?;
        batch.advance(logits, &mut workspace, &mut hooks)?;
        if !batch.running.is_empty() && !batch.keeps_rows(rows) {
            decoder.reorder(&batch.parents)?;
        }
    }
    Ok(batch.results)
}

/// The tokens to feed, `[rows, n]`.
fn matrix(tokens: &[u32], rows: usize) -> Result<ArrayView2<'_, u32>> {
    let width = tokens.len() / rows.max(1);
    ArrayView2::from_shape((rows, width), tokens).map_err(|error| Error::InvalidGraph {
        graph: "decoder".to_owned(),
        reason: format!("it has {rows} rows for {} tokens: {error}", tokens.len()),
    })
}

/// There is a row of logits for each row, and the vocabulary knows the forced tokens: of one that it does not
/// know, nothing would be left to choose from.
fn check_logits(logits: ArrayView2<'_, f32>, rows: usize, config: &GenerationConfig) -> Result<()> {
    let (found, vocabulary) = logits.dim();
    if found != rows {
        return Err(Error::InvalidGraph {
            graph: "decoder".to_owned(),
            reason: format!("it gave {found} rows of logits for {rows} rows"),
        });
    }
    let bos = config
        .forced_bos_token_id
        .iter()
        .map(|&id| ("forced_bos_token_id", id));
    let eos = config
        .forced_eos_token_ids
        .iter()
        .map(|&id| ("forced_eos_token_id", id));
    match bos.chain(eos).find(|&(_, id)| id as usize >= vocabulary) {
        Some((name, id)) => Err(Error::InvalidOption {
            name,
            reason: format!("is {id}, but the model's vocabulary has {vocabulary} tokens"),
        }),
        None => Ok(()),
    }
}

/// The searches that go on, in the order of their rows in the decoder.
struct Batch<'a> {
    running: Vec<Running<'a>>,
    results: Vec<Vec<Sequence>>,
    /// For each row of the next step, the row of the last one that it continues.
    parents: Vec<usize>,
    /// For each row of the next step, what it is fed.
    tokens: Vec<u32>,
}

struct Running<'a> {
    input: usize,
    search: Box<dyn Search + 'a>,
}

impl<'a> Batch<'a> {
    fn new(inputs: usize, config: &'a GenerationConfig) -> Self {
        Self {
            running: (0..inputs)
                .map(|input| Running {
                    input,
                    search: search::new(config),
                })
                .collect(),
            results: vec![Vec::new(); inputs],
            parents: Vec::new(),
            tokens: Vec::new(),
        }
    }

    /// Takes `token` for every row without asking the model.
    fn force(&mut self, token: u32, hooks: &mut Hooks<'_>) {
        for running in &mut self.running {
            running.search.force(token);
        }
        self.after_choice(hooks);
    }

    /// Chooses the next tokens by the logits of all rows, `[rows, vocabulary]`.
    fn advance(
        &mut self,
        logits: ArrayView2<'_, f32>,
        workspace: &mut Workspace,
        hooks: &mut Hooks<'_>,
    ) -> Result<()> {
        self.parents.clear();
        self.tokens.clear();
        let mut first = 0;
        for Running { search, .. } in &mut self.running {
            let end = first + search.next().len();
            search.advance(logits.slice(s![first..end, ..]), workspace)?;
            for continuation in search.next() {
                self.parents.push(first + continuation.parent);
                self.tokens.push(continuation.token);
            }
            first = end;
        }
        self.after_choice(hooks);
        Ok(())
    }

    /// Streams what was chosen, and takes leave of the searches that are done.
    fn after_choice(&mut self, hooks: &mut Hooks<'_>) {
        if let (Some(on_token), [Running { search, .. }]) = (&mut hooks.on_token, self.running.as_mut_slice())
            && let Some(token) = search.last_token()
            && let ControlFlow::Break(()) = on_token(token)
        {
            search.stop();
        }
        let results = &mut self.results;
        self.running.retain_mut(|Running { input, search }| {
            let goes_on = !search.next().is_empty();
            if !goes_on {
                results[*input] = search.take_sequences();
            }
            goes_on
        });
    }

    /// Whether the next step's rows are the last one's.
    fn keeps_rows(&self, rows: usize) -> bool {
        self.parents.iter().copied().eq(0..rows)
    }
}
