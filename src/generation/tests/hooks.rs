//! Streaming, cancellation, errors, and the decoder's calls.

use std::cell::Cell;
use std::ops::ControlFlow;

use serde_json::json;

use super::*;
use crate::error::{Error, Result};
use crate::generation::{Decoder, Logits};

#[test]
fn tokens_are_streamed_as_they_are_chosen() {
    let model = FakeModel::new(1, 40);
    for settings in [
        json!({"max_new_tokens": 9}),
        json!({"forced_bos_token_id": 0}),
        json!({"do_sample": true}),
    ] {
        let config = config(settings);
        let mut streamed = Vec::new();
        let mut on_token = |token| {
            streamed.push(token);
            ControlFlow::Continue(())
        };
        let mut decoder = FakeDecoder::new(std::slice::from_ref(&model));
        let found = generate(
            &mut decoder,
            &config,
            Hooks::default().with_on_token(&mut on_token),
        )
        .unwrap();
        assert_eq!(streamed, found[0][0].token_ids);
        assert!(!streamed.is_empty());
    }
}

#[test]
fn on_token_can_end_the_sequence() {
    let model = FakeModel {
        bias: Vec::new(),
        ..FakeModel::new(4, 40)
    };
    let mut left = 3;
    let mut on_token = |_| {
        left -= 1;
        if left == 0 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    };
    let mut decoder = FakeDecoder::new(&[model]);
    let hooks = Hooks::default().with_on_token(&mut on_token);
    let found = generate(&mut decoder, &config(json!({})), hooks).unwrap();
    assert_eq!((found[0][0].token_ids.len(), found[0][0].finished), (3, false));
    assert_eq!(decoder.steps.len(), 3);
}

#[test]
fn only_one_row_can_be_streamed() {
    let model = FakeModel::new(1, 40);
    let cases = [
        (json!({"num_beams": 2}), 1, "num_beams"),
        (
            json!({"do_sample": true, "num_return_sequences": 2}),
            1,
            "num_return_sequences",
        ),
        (json!({}), 2, "on_token"),
    ];
    for (settings, inputs, named) in cases {
        let mut decoder = FakeDecoder::new(&vec![model.clone(); inputs]);
        let mut on_token = |_| ControlFlow::Continue(());
        let hooks = Hooks::default().with_on_token(&mut on_token);
        let error = generate(&mut decoder, &config(settings), hooks).unwrap_err();
        assert!(
            matches!(error, Error::InvalidOption { name, .. } if name == named),
            "{error}"
        );
        assert!(decoder.steps.is_empty());
    }
}

#[test]
fn a_search_can_be_cancelled() {
    for settings in [json!({"num_beams": 3}), json!({})] {
        let asked = Cell::new(0);
        let is_cancelled = || {
            asked.set(asked.get() + 1);
            asked.get() > 2
        };
        let model = FakeModel {
            bias: Vec::new(),
            ..FakeModel::new(4, 3000)
        };
        let mut decoder = FakeDecoder::new(&[model.clone(), model]);
        let hooks = Hooks::default().with_is_cancelled(&is_cancelled);
        let error = generate(&mut decoder, &config(settings), hooks).unwrap_err();
        assert!(matches!(error, Error::Cancelled));
        assert_eq!(decoder.steps.len(), 2);
    }
}

#[test]
fn errors_of_the_decoder_come_through() {
    let mut decoder = FakeDecoder::new(&[FakeModel {
        bias: Vec::new(),
        ..FakeModel::new(4, 3000)
    }]);
    decoder.fails_at = Some(2);
    let error = generate(&mut decoder, &config(json!({"num_beams": 2})), Hooks::default()).unwrap_err();
    assert!(error.to_string().contains("fails here"));
}

#[test]
fn forced_tokens_beyond_the_vocabulary_are_refused() {
    for name in ["forced_bos_token_id", "forced_eos_token_id"] {
        let mut decoder = FakeDecoder::new(&[FakeModel::new(1, 40)]);
        let error = generate(&mut decoder, &config(json!({name: 40})), Hooks::default()).unwrap_err();
        assert!(
            matches!(error, Error::InvalidOption { name: refused, .. } if refused == name),
            "{error}"
        );
    }
}

#[test]
fn logits_that_are_not_finite_are_an_error() {
    for settings in [json!({"num_beams": 3}), json!({}), json!({"do_sample": true})] {
        for bias in [f32::NAN, f32::INFINITY] {
            let broken = FakeModel {
                bias: vec![(7, bias)],
                ..FakeModel::new(1, 40)
            };
            let error = generate(
                &mut FakeDecoder::new(&[broken]),
                &config(settings.clone()),
                Hooks::default(),
            )
            .unwrap_err();
            assert!(matches!(error, Error::NotFinite { .. }), "{error}");
        }
    }
}

/// A graph may ban tokens by -∞. It may not ban all.
#[test]
fn infinitely_low_logits_are_bans() {
    let banned = |tokens: std::ops::Range<usize>| FakeModel {
        bias: tokens.map(|token| (token, f32::NEG_INFINITY)).collect(),
        ..FakeModel::new(1, 40)
    };
    for settings in [json!({"num_beams": 3}), json!({}), json!({"do_sample": true})] {
        let settings = config(settings);
        let found = run(&[banned(3..30)], &settings);
        let tokens = &found[0][0].token_ids;
        assert!(!tokens.is_empty() && tokens.iter().all(|token| !(3..30).contains(token)));
        let mut decoder = FakeDecoder::new(&[banned(0..40)]);
        let error = generate(&mut decoder, &settings, Hooks::default()).unwrap_err();
        assert!(matches!(error, Error::NotFinite { .. }), "{error}");
    }
}

/// A temperature or penalty near the ends of 32-bit floats.
#[test]
fn settings_that_make_scores_infinite_are_an_error() {
    let high = FakeModel {
        bias: (0..40).map(|token| (token, 1000.0)).collect(),
        ..FakeModel::new(1, 40)
    };
    let low = FakeModel {
        bias: (0..40).map(|token| (token, -1000.0)).collect(),
        ..FakeModel::new(1, 40)
    };
    for (model, settings, expected) in [
        (
            &high,
            json!({"do_sample": true, "temperature": 2e-38}),
            "temperature",
        ),
        (
            &low,
            json!({"do_sample": true, "temperature": 2e-38}),
            "temperature",
        ),
        (&high, json!({"repetition_penalty": 2e-38}), "repetition_penalty"),
    ] {
        let mut decoder = FakeDecoder::new(std::slice::from_ref(model));
        let error = generate(&mut decoder, &config(settings), Hooks::default()).unwrap_err();
        assert!(
            matches!(error, Error::InvalidOption { name, .. } if name == expected),
            "{error}"
        );
    }
    // Sampling among equals.
    let settings = json!({"do_sample": true, "temperature": 1e30});
    assert!(!run(&[high], &config(settings))[0][0].token_ids.is_empty());
}

/// All tokens but one are suppressed, and that one may not be repeated: there is still an answer.
#[test]
fn a_search_without_choice_ends() {
    let suppressed: Vec<u32> = (0..40).filter(|&token| token != 9).collect();
    for beams in [1, 3] {
        let settings = json!({
            "suppress_tokens": suppressed, "no_repeat_ngram_size": 1, "max_new_tokens": 6, "num_beams": beams
        });
        let found = run(&[FakeModel::new(1, 40)], &config(settings));
        assert_eq!(found[0].len(), 1);
        assert!(!found[0][0].finished);
    }
}

#[test]
fn no_inputs_give_no_results() {
    let mut decoder = FakeDecoder::new(&[]);
    assert!(
        generate(&mut decoder, &config(json!({})), Hooks::default())
            .unwrap()
            .is_empty()
    );
    assert!(decoder.steps.is_empty());
}

#[test]
fn a_forced_first_token_is_fed_with_the_start_token() {
    let settings = json!({"forced_bos_token_id": 0, "num_beams": 3, "max_new_tokens": 4});
    let model = FakeModel {
        bias: Vec::new(),
        ..FakeModel::new(4, 3000)
    };
    let mut decoder = FakeDecoder::new(std::slice::from_ref(&model));
    generate(&mut decoder, &config(settings), Hooks::default()).unwrap();
    assert_eq!(decoder.steps, [(1, 2), (3, 1), (3, 1)]);

    let mut decoder = FakeDecoder::new(&[model]);
    let settings = json!({"forced_bos_token_id": 0, "max_new_tokens": 1});
    let found = generate(&mut decoder, &config(settings), Hooks::default()).unwrap();
    assert_eq!((&found[0][0].token_ids, found[0][0].finished), (&vec![0], false));
    assert!(decoder.steps.is_empty());
}

#[test]
fn a_forced_end_counts_as_cut_off() {
    let model = FakeModel {
        bias: Vec::new(),
        ..FakeModel::new(4, 3000)
    };
    for beams in [1, 3] {
        let settings = json!({"forced_eos_token_id": 2, "num_beams": beams, "max_new_tokens": 5});
        let found = run(std::slice::from_ref(&model), &config(settings));
        assert_eq!(found[0][0].token_ids.last(), Some(&2));
        assert!(!found[0][0].finished);
    }
    let ending = FakeModel {
        bias: vec![(2, 9.0)],
        ..model
    };
    let found = run(
        &[ending],
        &config(json!({"forced_eos_token_id": 2, "max_new_tokens": 5})),
    );
    assert_eq!(
        (found[0][0].token_ids.as_slice(), found[0][0].finished),
        (&[2][..], true)
    );
}

/// Rows of inputs that are done are dropped: the number of rows never grows after the beams have opened.
#[test]
fn finished_inputs_are_dropped_from_the_decoder() {
    let models: Vec<FakeModel> = (0..6)
        .map(|seed| FakeModel {
            bias: vec![(2, seed as f32)],
            ..FakeModel::new(seed, 300)
        })
        .collect();
    for settings in [
        json!({"num_beams": 3, "max_new_tokens": 40}),
        json!({"max_new_tokens": 40}),
    ] {
        let mut decoder = FakeDecoder::new(&models);
        let found = generate(&mut decoder, &config(settings), Hooks::default()).unwrap();
        assert_eq!(found.len(), 6);
        let rows: Vec<usize> = decoder.steps.iter().map(|&(rows, _)| rows).collect();
        assert_eq!(rows[0], 6);
        assert!(rows[1..].is_sorted_by(|a, b| a >= b), "{rows:?}");
        assert!(rows.last() < rows.get(1), "{rows:?}");
    }
}

/// Each row's history is the sequence that the search continues: the cache follows the tokens.
#[test]
fn rows_hold_the_sequences_that_the_search_continues() {
    struct Checked(FakeDecoder, Vec<Vec<u32>>);
    impl Decoder for Checked {
        fn inputs(&self) -> usize {
            self.0.inputs()
        }
        fn admit(&mut self, prompt: &[u32]) -> Result<Option<Logits<'_>>> {
            self.1.push(prompt.to_vec());
            self.0.admit(prompt)
        }
        fn rows(&self) -> usize {
            self.0.rows()
        }
        fn step(&mut self, tokens: &[u32]) -> Result<Logits<'_>> {
            for (history, &token) in self.0.histories().into_iter().zip(tokens) {
                self.1.push([history, &[token]].concat());
            }
            self.0.step(tokens)
        }
        fn reorder(&mut self, parents: &[usize]) -> Result<()> {
            self.0.reorder(parents)
        }
    }
    let models = [FakeModel::new(31, 40), FakeModel::new(32, 40)];
    let settings = json!({"num_beams": 4, "num_return_sequences": 4, "max_new_tokens": 12});
    let mut decoder = Checked(FakeDecoder::new(&models), Vec::new());
    let found = generate(&mut decoder, &config(settings), Hooks::default()).unwrap();
    for sequence in found.iter().flatten() {
        // The last token is never fed; all before it were fed to some row, in this order.
        let fed = [&[2], &sequence.token_ids[..sequence.token_ids.len() - 1]].concat();
        assert!(decoder.1.contains(&fed), "{fed:?}");
    }
}

/// Inputs are admitted as others are done: never more than the limit, and no step is taken below it.
#[test]
fn waiting_inputs_are_admitted_as_others_are_done() {
    let models: Vec<FakeModel> = (0..9)
        .map(|seed| FakeModel {
            bias: vec![(2, seed as f32 * 0.7)],
            ..FakeModel::new(seed, 300)
        })
        .collect();
    let settings = json!({"max_new_tokens": 40, "forced_bos_token_id": 0});
    let mut decoder = FakeDecoder::new(&models).with_limits(3, 1);
    let found = generate(&mut decoder, &config(settings), Hooks::default()).unwrap();
    assert_eq!(found.iter().flatten().count(), 9);
    let (admissions, steps): (Vec<_>, Vec<_>) = decoder.steps.iter().partition(|&&(_, tokens)| tokens == 2);
    assert_eq!(admissions.len(), 9);
    assert!(steps.iter().all(|&(rows, tokens)| rows <= 3 && tokens == 1));
    // Only when none waits any more are there steps of fewer rows.
    let last_admission = decoder
        .steps
        .iter()
        .rposition(|&(_, tokens)| tokens == 2)
        .unwrap();
    let before = decoder.steps[..last_admission]
        .iter()
        .filter(|&&(_, tokens)| tokens == 1);
    assert!(before.clone().count() > 3 && before.into_iter().all(|&(rows, _)| rows == 3));
}

#[test]
fn a_decoder_that_admits_no_input_is_an_error() {
    let mut decoder = FakeDecoder::new(&[FakeModel::new(1, 40)]).with_limits(0, 1);
    let error = generate(&mut decoder, &config(json!({})), Hooks::default()).unwrap_err();
    assert!(error.to_string().contains("admits none of 1 inputs"), "{error}");
}
