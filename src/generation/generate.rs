//! The generation loop: decoder steps for all inputs together, a search for each.

use super::config::GenerationConfig;
use super::decoder::Decoder;
use super::hooks::Hooks;
use super::invalid_decoder;
use super::logits::Logits;
use super::search::{self, Workspace};
use super::searches::Searches;
use super::sequence::Sequence;
use crate::error::{Error, Result};

/// Generates sequences for every input of a fresh `decoder`: `num_return_sequences` for each, the best first. Fewer,
/// but at least one, if all other continuations are impossible.
///
/// An input's sequences do not depend on the inputs beside it. Its rows leave the decoder when it is done, and waiting inputs
/// are admitted as soon as there is capacity.
///
/// # Errors
/// - [`Error::InvalidOption`] if `config` is invalid, `hooks` stream tokens of a search with several rows (it names
///   `num_beams` or `num_return_sequences`), or one of its logits processors returns NaN or ∞.
/// - [`Error::Cancelled`] if `hooks.is_cancelled` returns `true`.
/// - [`Error::InvalidGraph`] if the decoder's logits have an unexpected shape.
/// - [`Error::NotFinite`] if NaN or ∞ is among a row's logits, or all of them are -∞.
/// - Errors of the decoder.
pub fn generate(
    decoder: &mut dyn Decoder,
    config: &GenerationConfig,
    mut hooks: Hooks<'_>,
) -> Result<Vec<Vec<Sequence>>> {
    config.validate()?;
    let inputs = decoder.inputs();
    if hooks.on_token.is_some() {
        check_one_row(inputs, config)?;
    }
    let mut searches = Searches::new(inputs, config);
    let mut workspace = Workspace::new(config, std::mem::take(&mut hooks.logits_processors));
    let mut prompt = vec![config.decoder_start_token_id];
    if let Some(token) = search::forced_first_token(config) {
        searches.force(token, &mut hooks);
        prompt.push(token);
    }
    while !searches.is_done() {
        if hooks.is_cancelled.is_some_and(|is_cancelled| is_cancelled()) {
            return Err(Error::Cancelled);
        }
        // Waiting inputs are admitted before the others continue: the more rows a step has, the less each costs.
        let admitted = if searches.waiting() > 0 {
            decoder.admit(&prompt)?
        } else {
            None
        };
        match admitted {
            Some(logits) => {
                check_admitted(&logits, searches.waiting())?;
                check_forced(&logits, config)?;
                searches.admit(&logits, &mut workspace, &mut hooks)?;
            }
            None => {
                let logits = decoder.step(searches.tokens()?)?;
                searches.advance(&logits, &mut workspace, &mut hooks)?;
            }
        }
        if !searches.is_done() && !searches.keeps_rows(decoder.rows()) {
            decoder.reorder(searches.parents())?;
        }
    }
    Ok(searches.into_results())
}

fn check_admitted(logits: &Logits<'_>, waiting: usize) -> Result<()> {
    match logits.rows() {
        rows if (1..=waiting).contains(&rows) => Ok(()),
        rows => Err(invalid_decoder(format!(
            "it returned {rows} rows of logits, but {waiting} inputs wait"
        ))),
    }
}

/// Checks that forced tokens are in the vocabulary: otherwise no token would be left to choose.
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

/// Checks that the search has one row, whose tokens can be streamed.
fn check_one_row(inputs: usize, config: &GenerationConfig) -> Result<()> {
    let counts = [
        ("num_beams", config.num_beams),
        ("num_return_sequences", config.num_return_sequences),
        ("on_token", inputs),
    ];
    match counts.into_iter().find(|&(_, count)| count > 1) {
        None => Ok(()),
        Some((name, count)) => Err(Error::InvalidOption {
            name,
            reason: match name {
                "on_token" => format!("tokens of one input can be streamed, not of {count}"),
                _ => format!("is {count}; tokens are streamed of one sequence: set {name} to 1"),
            },
        }),
    }
}
