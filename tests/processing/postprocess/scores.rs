//! Scores of instances.

use std::ops::Range;

use florence2::OutputKind;
use florence2::postprocess::{ParseOptions, RawAnswer, TokenSpan, parse};

use super::SIZE;

/// Splits `text` into location tokens, special tokens and single characters; token `i` has log-probability `score(i)`.
pub(crate) fn tokens(text: &str, score: impl Fn(usize) -> f32) -> Vec<TokenSpan> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        let length = match rest.find('>') {
            Some(end) if rest.starts_with('<') => end + 1,
            _ => rest.chars().next().map_or(1, char::len_utf8),
        };
        tokens.push(TokenSpan {
            range: at..at + length,
            log_probability: score(tokens.len()),
        });
        at += length;
    }
    tokens
}

#[test]
fn scores_are_the_geometric_means_of_the_locations_probabilities() {
    // </s> <s> a, four locations (3 to 6), four more (7 to 10), b, three of four.
    let text = "</s><s>a<loc_1><loc_2><loc_3><loc_4><loc_5><loc_6><loc_7><loc_8>b<loc_1><loc_2><loc_3></s>";
    let tokens = tokens(text, |i| -(i as f32));
    let answer = RawAnswer {
        text,
        tokens: Some(&tokens),
    };
    for strict in [false, true] {
        let options = ParseOptions::default().with_strict(strict);
        for kind in [
            OutputKind::DescriptionWithBboxes,
            OutputKind::PhraseGrounding,
            OutputKind::Bboxes,
        ] {
            // "a" is a banned phrase.
            let options = options.clone().with_banned_grounding_tokens(["b"]);
            let scores = parse(kind, &answer, SIZE, &options).scores();
            assert_eq!(
                scores,
                [Some((-4.5_f32).exp()), Some((-8.5_f32).exp())],
                "{kind:?}"
            );
        }
        let scores = parse(OutputKind::Ocr, &answer, SIZE, &options).scores();
        assert_eq!(scores, [Some((-6.5_f32).exp())]);
    }
    assert_eq!(
        parse(OutputKind::PureText, &answer, SIZE, &ParseOptions::default()).scores(),
        []
    );
}

#[test]
fn an_outlines_score_is_that_of_all_its_locations() {
    // x <poly> 4 locations (2 to 5) <sep> 2 (7, 8) </poly>
    let text = "x<poly><loc_1><loc_2><loc_3><loc_4><sep><loc_5><loc_6></poly>";
    let tokens = tokens(text, |i| -(i as f32));
    let answer = RawAnswer {
        text,
        tokens: Some(&tokens),
    };
    let parsed = parse(
        OutputKind::DescriptionWithBboxesOrPolygons,
        &answer,
        SIZE,
        &ParseOptions::default(),
    );
    let mean: f32 = -(2.0 + 3.0 + 4.0 + 5.0 + 7.0 + 8.0) / 6.0;
    let [Some(score)] = parsed.scores()[..] else {
        panic!("{parsed:?}")
    };
    assert!((score - mean.exp()).abs() < 1e-6, "{score}");
}

#[test]
fn invalid_token_spans_give_no_score() {
    let text = "car<loc_1><loc_2><loc_3><loc_4>";
    let span = |range, log_probability| TokenSpan {
        range,
        log_probability,
    };
    for tokens in [
        vec![],
        vec![span(0..3, -1.0)],
        vec![span(3..31, f32::NAN)],
        vec![span(Range { start: 31, end: 3 }, -1.0)],
        vec![span(usize::MAX - 1..usize::MAX, -1.0)],
    ] {
        let answer = RawAnswer {
            text,
            tokens: Some(&tokens),
        };
        let parsed = parse(
            OutputKind::DescriptionWithBboxes,
            &answer,
            SIZE,
            &ParseOptions::default(),
        );
        assert_eq!(parsed.scores(), [None], "{tokens:?}");
    }
}
