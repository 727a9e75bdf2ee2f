//! Comparison with transformers.

use serde::Deserialize;

use super::*;
use crate::generation::processors::{LogitsProcessors, ProcessorChain};

const SEARCHES: &str = include_str!("../../../tests/fixtures/generation/searches.json");
const PROCESSORS: &str = include_str!("../../../tests/fixtures/generation/processors.json");

#[derive(Deserialize)]
struct Expected {
    token_ids: Vec<u32>,
    token_log_probs: Vec<f32>,
    score: Option<f32>,
}

/// Tokens exactly, log-probabilities to 1e-6, sequence scores to 1e-5.
fn check(found: &[Sequence], expected: &[Expected]) -> Result<(), String> {
    if found.len() < expected.len() {
        return Err(format!("{} sequences, expected {}", found.len(), expected.len()));
    }
    // Where there are no more sequences, transformers returns an empty one with a losing score.
    if let Some(more) = found[expected.len()..]
        .iter()
        .find(|sequence| sequence.score >= -1e8)
    {
        return Err(format!("one sequence more: {more:?}"));
    }
    for (found, expected) in found.iter().zip(expected) {
        if found.token_ids != expected.token_ids {
            return Err(format!(
                "tokens {:?}, expected {:?}",
                found.token_ids, expected.token_ids
            ));
        }
        if found.token_log_probs.len() != expected.token_log_probs.len() {
            return Err(format!("{} log-probabilities", found.token_log_probs.len()));
        }
        let near = |found: f32, expected: f32, tolerance: f32| {
            ((found - expected).abs() <= tolerance * expected.abs().max(1.0))
                .then_some(())
                .ok_or_else(|| format!("score {found}, expected {expected}"))
        };
        for (&found, &expected) in found.token_log_probs.iter().zip(&expected.token_log_probs) {
            near(found, expected, 1e-6)?;
        }
        if let Some(expected) = expected.score {
            // Errors of all tokens, times a power of their number.
            near(found.score, expected, 1e-5)?;
        }
    }
    Ok(())
}

/// Top-k logits give the same sequences as all logits, to the last bit.
#[test]
fn top_k_logits_give_the_same_sequences() {
    let (models, cases) = fixture(SEARCHES);
    let (mut steps, mut fetched) = (0, 0);
    for (index, case) in cases.iter().enumerate() {
        let model = std::slice::from_ref(&models[case["model"].as_u64().unwrap() as usize]);
        let config = config(case["settings"].clone());
        let expected = run(model, &config);
        for k in [2, 12, model[0].vocabulary] {
            let mut decoder = FakeDecoder::new(model).with_top_k(k);
            let found = generate(&mut decoder, &config, Hooks::default()).unwrap();
            assert_eq!(
                found, expected,
                "case {index}, {k} of {}: {}",
                model[0].vocabulary, case["settings"]
            );
            if k == 12 && config.only_bans_tokens() {
                steps += decoder.steps.len();
                fetched += decoder.fetched();
            }
        }
    }
    assert!(
        steps > 1000 && fetched > 0 && fetched < steps,
        "{fetched} of {steps}"
    );
}

#[test]
fn searches_equal_transformers() {
    let (models, cases) = fixture(SEARCHES);
    assert!(cases.len() >= 600);
    let mut failures = Vec::new();
    for (index, case) in cases.iter().enumerate() {
        let model = &models[case["model"].as_u64().unwrap() as usize];
        let expected: Vec<Expected> = serde_json::from_value(case["sequences"].clone()).unwrap();
        let found = run(std::slice::from_ref(model), &config(case["settings"].clone()));
        if let Err(reason) = check(&found[0], &expected) {
            failures.push(format!(
                "case {index}: {reason}\n  {} {}",
                case["model"], case["settings"]
            ));
        }
    }
    assert!(
        failures.is_empty(),
        "{} of {} failed:\n{}",
        failures.len(),
        cases.len(),
        failures.join("\n")
    );
}

#[test]
fn processors_equal_transformers() {
    let (models, cases) = fixture(PROCESSORS);
    for case in &cases {
        let model = &models[case["model"].as_u64().unwrap() as usize];
        let tokens: Vec<u32> = serde_json::from_value(case["tokens"].clone()).unwrap();
        let mut scores = model.logits(&tokens);
        let config = config(case["settings"].clone());
        let mut request = LogitsProcessors::default();
        if let Some(token) = case["bias"].as_u64() {
            request.push(move |_: &[u32], scores: &mut [f32]| scores[token as usize] += 3.0);
        }
        let mut chain = ProcessorChain::new(&config, request);
        chain.process(&tokens, &mut scores).unwrap();
        let kept: Vec<(usize, f32)> = scores
            .into_iter()
            .enumerate()
            .filter(|&(_, score)| score > f32::NEG_INFINITY)
            .collect();
        assert_eq!(kept.len() as u64, case["kept"].as_u64().unwrap(), "{case}");
        let expected: Vec<(usize, f32)> = serde_json::from_value(case["scores"].clone()).unwrap();
        for (&(token, score), (expected_token, expected_score)) in kept.iter().zip(expected) {
            assert_eq!(token, expected_token, "{case}");
            assert!(
                (score - expected_score).abs() <= 1e-6 * expected_score.abs().max(1.0),
                "{token} {score} {case}"
            );
        }
    }
}

/// In batches of different models, every golden case has the result of a single run: with all inputs in the batch from the
/// start, or at most two at a time.
#[test]
fn a_batch_equals_single_runs() {
    let (models, cases) = fixture(SEARCHES);
    let mut compared = 0;
    for case in cases.iter().step_by(3) {
        let first = &models[case["model"].as_u64().unwrap() as usize];
        let settings = config(case["settings"].clone());
        let batch: Vec<FakeModel> = [0, 100, 200, 0]
            .map(|seed| FakeModel {
                seed: first.seed + seed,
                ..first.clone()
            })
            .to_vec();
        let alone: Vec<Vec<Sequence>> = batch
            .iter()
            .map(|model| run(std::slice::from_ref(model), &settings).remove(0))
            .collect();
        for (max_batch, max_admitted) in [(4, 4), (4, 1), (2, 2), (2, 1), (1, 1)] {
            let mut decoder = FakeDecoder::new(&batch).with_limits(max_batch, max_admitted);
            let together = generate(&mut decoder, &settings, Hooks::default()).unwrap();
            assert_eq!(together, alone, "{max_batch} {max_admitted} {case}");
            compared += together.len();
        }
    }
    assert!(compared > 4000, "{compared}");
}
