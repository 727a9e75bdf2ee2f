//! The loop: decoder steps for all inputs of a batch at once, a search for each.

use super::DECODER;
use super::batch::Batch;
use super::config::GenerationConfig;
use super::decoder::Decoder;
use super::hooks::Hooks;
use super::logits::Logits;
use super::search::{self, Workspace};
use super::sequence::Sequence;
use crate::error::{Error, Result};

/// Generates for every input of a fresh `decoder`: gives a list of `num_return_sequences` sequences for each, best
/// first (fewer, but at least one, where the model has no more).
///
/// An input's sequences do not depend on the inputs beside it. Its rows leave the decoder as it is done, and as soon as
/// there is room, inputs that wait join.
///
/// # Errors
/// - [`Error::InvalidOption`] if `config` makes no sense, or `hooks` ask for tokens of a search with several rows.
/// - [`Error::Cancelled`] if `hooks` say so.
/// - [`Error::InvalidGraph`] if the decoder's logits are of another shape.
/// - [`Error::NotFinite`] if NaN or ∞ is among a row's logits, or all of them are -∞.
/// - What the decoder reports.
pub fn generate(
    decoder: &mut dyn Decoder,
    config: &GenerationConfig,
    mut hooks: Hooks<'_>,
) -> Result<Vec<Vec<Sequence>>> {
    config.validate()?;
    let inputs = decoder.inputs();
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
    while !batch.is_done() {
        if hooks.is_cancelled.is_some_and(|is_cancelled| is_cancelled()) {
            return Err(Error::Cancelled);
        }
        // Who waits joins before the others go on: the more rows a step has, the less each of them costs.
        let joined = if batch.waiting() > 0 {
            decoder.join(&prompt)?
        } else {
            None
        };
        match joined {
            Some(logits) => {
                check_joined(&logits, batch.waiting())?;
                check_forced(&logits, config)?;
                batch.join(&logits, &mut workspace, &mut hooks)?;
            }
            None => {
                let logits = decoder.step(batch.tokens()?)?;
                batch.advance(&logits, &mut workspace, &mut hooks)?;
            }
        }
        if !batch.is_done() && !batch.keeps_rows(decoder.rows()) {
            decoder.reorder(batch.parents())?;
        }
    }
    Ok(batch.into_results())
}

fn check_joined(logits: &Logits<'_>, waiting: usize) -> Result<()> {
    match logits.rows() {
        rows if (1..=waiting).contains(&rows) => Ok(()),
        rows => Err(Error::InvalidGraph {
            graph: DECODER.to_owned(),
            reason: format!("it gave {rows} rows of logits where {waiting} inputs wait"),
        }),
    }
}

/// The vocabulary knows the forced tokens: of one that it does not know, nothing would be left to choose from.
fn check_forced(logits: &Logits<'_>, config: &GenerationConfig) -> Result<()> {
    let vocabulary = logits.vocabulary();
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
