//! Tests of sampling: reproducible, and by the right probabilities.

use std::collections::HashMap;

use serde_json::json;

use super::*;

fn seeded(settings: serde_json::Value, seed: u64) -> GenerationConfig {
    let mut config = config(settings);
    config.seed = seed;
    config
}

#[test]
fn equal_seeds_give_equal_sequences() {
    let model = FakeModel {
        bias: Vec::new(),
        ..FakeModel::new(4, 300)
    };
    for beams in [1, 3] {
        let settings =
            json!({"do_sample": true, "num_beams": beams, "num_return_sequences": 3, "max_new_tokens": 12});
        let first = run(std::slice::from_ref(&model), &seeded(settings.clone(), 5));
        assert_eq!(
            first,
            run(std::slice::from_ref(&model), &seeded(settings.clone(), 5))
        );
        assert_ne!(
            first,
            run(std::slice::from_ref(&model), &seeded(settings.clone(), 6))
        );
        assert_eq!(first[0].len(), 3);
        assert_ne!(first[0][0].token_ids, first[0][1].token_ids);
        let batch = run(&[FakeModel::new(9, 300), model.clone()], &seeded(settings, 5));
        assert_eq!(batch[1], first[0]);
    }
}

/// Equal seeds give equal random numbers in all versions.
#[test]
fn the_random_numbers_stay_the_same() {
    let model = FakeModel {
        bias: Vec::new(),
        ..FakeModel::new(4, 300)
    };
    let found = run(
        &[model],
        &seeded(json!({"do_sample": true, "max_new_tokens": 6}), 42),
    );
    assert_eq!(found[0][0].token_ids, [194, 291, 147, 192, 70, 75]);
}

/// Compares frequencies of first tokens over many sequences with their probabilities, for plain sampling and for the best
/// beam's first token.
#[test]
fn tokens_are_sampled_by_their_probabilities() {
    const DRAWS: usize = 4000;
    let model = FakeModel {
        bias: Vec::new(),
        ..FakeModel::new(11, 12)
    };
    let settings = json!({
        "do_sample": true, "num_return_sequences": DRAWS, "max_new_tokens": 1, "temperature": 1.5, "top_k": 6
    });
    let found = run(std::slice::from_ref(&model), &config(settings));
    let mut counts: HashMap<u32, usize> = HashMap::new();
    for sequence in &found[0] {
        *counts.entry(sequence.token_ids[0]).or_default() += 1;
    }
    let mut logits: Vec<(f64, u32)> = model
        .logits(&[2])
        .into_iter()
        .zip(0..)
        .map(|(logit, id)| (f64::from(logit) / 1.5, id))
        .collect();
    logits.sort_by(|a, b| b.0.total_cmp(&a.0));
    logits.truncate(6);
    let sum: f64 = logits.iter().map(|(logit, _)| logit.exp()).sum();
    assert_eq!(counts.len(), 6);
    for (logit, id) in logits {
        let probability = logit.exp() / sum;
        let frequency = counts[&id] as f64 / DRAWS as f64;
        let deviation = (probability * (1.0 - probability) / DRAWS as f64).sqrt();
        assert!(
            (frequency - probability).abs() < 4.0 * deviation,
            "{id}: {frequency} for {probability}"
        );
    }
}

/// Without replacement: with two beams and one end token, four candidates are drawn, and the best two of these kept.
#[test]
fn beams_are_sampled_by_their_probabilities() {
    const DRAWS: usize = 3000;
    const CANDIDATES: usize = 4;
    let model = FakeModel {
        bias: Vec::new(),
        scale: 0.5,
        ..FakeModel::new(12, 10)
    };
    let logits = model.logits(&[2]);
    let sum: f64 = logits.iter().map(|&logit| f64::from(logit).exp()).sum();
    let probabilities: Vec<f64> = logits.iter().map(|&logit| f64::from(logit).exp() / sum).collect();
    // All ordered draws, each with its probability.
    let mut draws: Vec<(Vec<usize>, f64)> = vec![(Vec::new(), 1.0)];
    for _ in 0..CANDIDATES {
        let mut longer = Vec::new();
        for (drawn, probability) in draws {
            let left = 1.0 - drawn.iter().map(|&token| probabilities[token]).sum::<f64>();
            for token in (0..probabilities.len()).filter(|token| !drawn.contains(token)) {
                let next = [drawn.as_slice(), &[token]].concat();
                longer.push((next, probability * probabilities[token] / left));
            }
        }
        draws = longer;
    }
    let mut expected: HashMap<(u32, u32), f64> = HashMap::new();
    for (mut drawn, probability) in draws {
        drawn.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
        let (a, b) = (drawn[0] as u32, drawn[1] as u32);
        *expected.entry((a.min(b), a.max(b))).or_default() += probability;
    }
    // Two candidates finish at the limit: the best of those drawn.
    let settings = json!({
        "do_sample": true, "num_beams": 2, "num_return_sequences": 2, "max_new_tokens": 1, "top_k": 0
    });
    let mut counts: HashMap<(u32, u32), usize> = HashMap::new();
    for seed in 0..DRAWS {
        let found = run(
            std::slice::from_ref(&model),
            &seeded(settings.clone(), seed as u64),
        );
        let (a, b) = (found[0][0].token_ids[0], found[0][1].token_ids[0]);
        *counts.entry((a.min(b), a.max(b))).or_default() += 1;
    }
    for ((a, b), count) in counts {
        let probability = expected[&(a, b)];
        let deviation = (probability * (1.0 - probability) / DRAWS as f64).sqrt();
        let frequency = count as f64 / DRAWS as f64;
        assert!(
            (frequency - probability).abs() < 4.5 * deviation,
            "{a},{b}: {frequency} for {probability}"
        );
    }
}
