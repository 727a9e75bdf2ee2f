//! Answers read as transformers reads them: see `tests/reference/postprocess.py`.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::ops::Range;
use std::time::{Duration, Instant};

use flate2::read::GzDecoder;
use florence2::postprocess::{BANNED_GROUNDING_TOKENS, ParseOptions, RawAnswer, TokenSpan, parse};
use florence2::{CoordinateFormat, ImageSize, OutputKind, Parsed, TaskKind};
use serde_json::Value;

/// An answer, and what transformers reads in it.
struct Case {
    task: TaskKind,
    text: String,
    size: ImageSize,
    /// `None` where transformers raises an exception.
    native: Option<Value>,
    options: ParseOptions,
}

impl Case {
    fn from_line(line: &str) -> Case {
        let case: Value = serde_json::from_str(line).unwrap();
        let side = |i: usize| u32::try_from(case[2][i].as_u64().unwrap()).unwrap();
        let mut options = ParseOptions::default();
        if let Some(banned) = case[4]["banned"].as_array() {
            options =
                options.with_banned_grounding_tokens(banned.iter().map(|token| token.as_str().unwrap()));
        }
        if let Some(area) = case[4]["area"].as_f64() {
            options = options.with_ocr_area_threshold(area);
        }
        Case {
            task: TaskKind::from_name(case[0].as_str().unwrap()).unwrap(),
            text: case[1].as_str().unwrap().to_owned(),
            size: ImageSize::new(side(0), side(1)),
            native: Some(case[3].clone()).filter(|native| !native.is_null()),
            options,
        }
    }

    /// Our result, with integers for coordinates.
    fn ours(&self, strict: bool) -> Value {
        let spec = self.task.spec();
        let options = self.options.clone().with_strict(strict);
        let parsed = parse(
            spec.output,
            &RawAnswer::from_text(&self.text),
            self.size,
            &options,
        );
        parsed.to_transformers(spec.tag, CoordinateFormat::Integer)[spec.tag].take()
    }

    /// The same without deviations 1 and 2: the labels of boxes, and only theirs, in ASCII.
    fn ours_like_native(&self) -> Value {
        let mut ours = self.ours(false);
        let key = match self.task.spec().output {
            OutputKind::DescriptionWithBboxes | OutputKind::PhraseGrounding => "labels",
            OutputKind::DescriptionWithBboxesOrPolygons => "bboxes_labels",
            _ => return ours,
        };
        for label in ours[key].as_array_mut().unwrap() {
            *label = label
                .as_str()
                .unwrap()
                .replace(|c: char| !c.is_ascii(), "")
                .into();
        }
        ours
    }

    /// Whether one of the listed deviations 3 to 5 may show.
    fn deviates(&self) -> bool {
        let area = self.options.ocr_area_threshold > 0.0;
        let newline = self.task == TaskKind::OcrWithRegion && self.text.contains('\n');
        // Native takes `<pad>` out of all but plain text.
        let removed: &[&str] = match self.task.spec().output {
            OutputKind::PureText => &["<s>", "</s>"],
            _ => &["<s>", "</s>", "<pad>"],
        };
        let left = removed
            .iter()
            .fold(self.text.clone(), |text, token| text.replace(token, ""));
        let tokens_left = ["<s>", "</s>", "<pad>"].iter().any(|token| left.contains(token));
        area || newline || tokens_left
    }
}

fn corpus() -> Vec<Case> {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/fixtures/postprocess/corpus.jsonl.gz"
    );
    BufReader::new(GzDecoder::new(File::open(path).unwrap()))
        .lines()
        .map(|line| Case::from_line(&line.unwrap()))
        .collect()
}

#[test]
fn strict_results_are_those_of_transformers() {
    let (mut compared, mut refused) = (0, 0);
    for case in corpus() {
        let ours = case.ours(true);
        match &case.native {
            Some(native) => {
                compared += 1;
                assert_eq!(&ours, native, "{:?} {:?} {:?}", case.task, case.size, case.text);
            }
            // Deviation 6: the rest of the answer is still read.
            None => {
                refused += 1;
                assert!(has_huge_location(&case.text), "{:?}", case.text);
                let labels = ours["labels"].as_array().or(ours["bboxes_labels"].as_array());
                assert!(labels.is_some(), "{ours}");
            }
        }
    }
    assert!(
        compared > 3500 && refused > 10,
        "{compared} compared, {refused} refused"
    );
}

/// A location of 19 digits or more (2⁶³ has 19).
fn has_huge_location(text: &str) -> bool {
    text.split("<loc_").skip(1).any(|rest| {
        let digits = rest.split('>').next().unwrap_or_default();
        digits.chars().count() >= 19
    })
}

#[test]
fn results_are_those_of_transformers_but_for_the_listed_deviations() {
    let (mut compared, mut deviating) = (0, 0);
    for case in corpus() {
        let Some(native) = &case.native else { continue };
        if case.deviates() {
            deviating += 1;
            continue;
        }
        compared += 1;
        assert_eq!(
            &case.ours_like_native(),
            native,
            "{:?} {:?} {:?}",
            case.task,
            case.size,
            case.text
        );
    }
    assert!(compared > 3000, "{compared} compared, {deviating} not");
}

#[test]
fn no_result_contains_a_special_token() {
    for case in corpus() {
        let result = case.ours(false).to_string();
        for token in ["<s>", "</s>", "<pad>"] {
            assert!(!result.contains(token), "{:?}: {result}", case.text);
        }
    }
}

const SIZE: ImageSize = ImageSize::new(640, 480);

fn read(kind: OutputKind, text: &str, strict: bool) -> Parsed {
    parse(
        kind,
        &RawAnswer::from_text(text),
        SIZE,
        &ParseOptions::default().with_strict(strict),
    )
}

fn detections(parsed: Parsed) -> Vec<(String, [f32; 4])> {
    let Parsed::Detections(detections) = parsed else {
        panic!("{parsed:?}")
    };
    detections
        .into_iter()
        .map(|detection| (detection.label, detection.bbox.to_array()))
        .collect()
}

#[test]
fn coordinates_are_the_centres_of_bins() {
    let text = "</s><s>café<loc_0><loc_999><loc_500><loc_1></s>";
    assert_eq!(
        detections(read(OutputKind::DescriptionWithBboxes, text, false)),
        // To the bit as in torch's f32: 1.5 · (480 / 1000) is just below 0.72.
        [("café".to_owned(), [0.32, 479.75998, 320.32, 0.71999997])]
    );
    assert_eq!(
        detections(read(OutputKind::DescriptionWithBboxes, text, true)),
        [("caf".to_owned(), [0.0, 479.0, 320.0, 0.0])]
    );
}

#[test]
fn ocr_text_may_have_newlines_unless_strict() {
    let text = "one\ntwo<loc_1><loc_2><loc_3><loc_4><loc_5><loc_6><loc_7><loc_8>";
    for (strict, expected) in [(false, "one\ntwo"), (true, "two")] {
        let Parsed::OcrRegions(regions) = read(OutputKind::Ocr, text, strict) else {
            panic!("not OCR")
        };
        assert_eq!(regions.len(), 1);
        assert_eq!(regions[0].text, expected);
    }
}

#[test]
fn ocr_regions_below_the_threshold_are_left_out() {
    // 0.1 × 0.1 and 0.5 × 0.5 of the image, both far from its corner.
    let text = "small<loc_800><loc_800><loc_900><loc_800><loc_900><loc_900><loc_800><loc_900>\
                large<loc_400><loc_400><loc_900><loc_400><loc_900><loc_900><loc_400><loc_900>";
    let options = ParseOptions::default().with_ocr_area_threshold(0.2);
    let Parsed::OcrRegions(regions) = parse(OutputKind::Ocr, &RawAnswer::from_text(text), SIZE, &options)
    else {
        panic!("not OCR")
    };
    assert_eq!(
        regions.iter().map(|region| &region.text).collect::<Vec<_>>(),
        ["large"]
    );
}

#[test]
fn banned_phrases_are_only_left_out_of_groundings() {
    let text = "the image<loc_1><loc_2><loc_3><loc_4>the imagecar<loc_1><loc_2><loc_3><loc_4>";
    let labels = |kind| {
        let labels = detections(read(kind, text, false)).into_iter();
        labels.map(|(label, _)| label).collect::<Vec<_>>()
    };
    assert_eq!(labels(OutputKind::PhraseGrounding), ["the imagecar"]);
    assert_eq!(
        labels(OutputKind::DescriptionWithBboxes),
        ["the image", "the imagecar"]
    );
    assert!(BANNED_GROUNDING_TOKENS.contains(&"one another"));
}

/// `text` cut into location tokens, special tokens and single bytes, token `i` with log-probability `score(i)`.
fn tokens(text: &str, score: impl Fn(usize) -> f32) -> Vec<TokenSpan> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        let length = match rest.find('>') {
            Some(end) if rest.starts_with('<') => end + 1,
            _ => 1,
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
fn odd_token_spans_give_no_score_rather_than_a_wrong_one() {
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

/// xorshift64*: the fuzz texts are the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % limit
    }
}

#[test]
fn any_text_is_read_without_panic() {
    const PIECES: [&str; 28] = [
        "<loc_",
        "<loc_1>",
        "<loc_999>",
        "<loc_1><loc_2><loc_3><loc_4>",
        "<loc_٣>",
        "<loc_99999999999999999999>",
        "<sep>",
        "<poly>",
        "</poly>",
        "<s>",
        "</s>",
        "<pad>",
        "<",
        ">",
        "s>",
        "/",
        "loc_",
        "5",
        "९",
        "\n",
        " ",
        "\u{1c}",
        "é",
        "日本",
        "🚗",
        "e\u{301}",
        "\0",
        "car",
    ];
    let mut random = Random(42);
    for round in 0..4000 {
        let text: String = (0..random.below(60))
            .map(|_| PIECES[random.below(PIECES.len())])
            .collect();
        let noise: String = (0..random.below(40))
            .filter_map(|_| char::from_u32(random.below(0x11_0000) as u32))
            .collect();
        let text = if round % 4 == 0 { text + &noise } else { text };
        // Spans that have nothing to do with the text, on purpose.
        let tokens: Vec<TokenSpan> = (0..random.below(8))
            .map(|_| TokenSpan {
                range: random.below(300)..random.below(300),
                log_probability: -(random.below(9) as f32),
            })
            .collect();
        let answer = RawAnswer {
            text: &text,
            tokens: Some(&tokens),
        };
        for kind in OutputKind::ALL {
            for strict in [false, true] {
                let size = ImageSize::new(random.below(3) as u32, random.below(5000) as u32);
                let options = ParseOptions::default()
                    .with_strict(strict)
                    .with_ocr_area_threshold(random.below(2) as f64 * 0.1);
                let parsed = parse(kind, &answer, size, &options);
                let json = parsed.to_transformers("<T>", CoordinateFormat::Float).to_string();
                assert!(!json.contains("null"), "{text:?}: {json}");
                assert!(
                    parsed
                        .scores()
                        .into_iter()
                        .flatten()
                        .all(|score| (0.0..=1.0).contains(&score))
                );
            }
        }
    }
}

#[test]
fn hostile_text_is_read_in_reasonable_time() {
    const LENGTH: usize = 100_000;
    let units = [
        "a",
        "<",
        "<loc_",
        "<loc_1>",
        "<loc_1",
        "a<loc_1>",
        "a<loc_1><loc_2><loc_3>",
        "a<loc_1><loc_2><loc_3><loc_4>",
        "<poly>",
        "</poly>",
        "<sep>",
        "<poly></poly>",
        "x<poly>",
        "x<poly><loc_1><loc_2><sep>",
        "<poly><loc_1><loc_2></poly>",
        "<s>",
        "<<s>",
        "\n",
        " ",
        "\n<loc_1>",
        "a\n<loc_1><loc_2><loc_3><loc_4><loc_5><loc_6><loc_7><loc_8>",
        "<loc_९९९>",
        "９",
    ];
    let mut texts: Vec<String> = units
        .iter()
        .map(|unit| unit.repeat(LENGTH / unit.len()))
        .collect();
    texts.push("<".repeat(LENGTH / 4) + &"s>".repeat(LENGTH / 4));
    texts.push(format!("x<loc_{}>{}", "9".repeat(LENGTH), "<loc_1>".repeat(8)));
    texts.push(format!(
        "x<loc_{}>{}",
        "९".repeat(LENGTH / 3),
        "<loc_1>".repeat(8)
    ));
    texts.push(format!("x{}", "<loc_1>".repeat(LENGTH / 7)));
    for text in texts {
        for kind in OutputKind::ALL {
            for strict in [false, true] {
                let start = Instant::now();
                read(kind, &text, strict);
                let took = start.elapsed();
                let shown: String = text.chars().take(40).collect();
                assert!(
                    took < Duration::from_secs(5),
                    "{shown}… as {kind:?} took {took:?}"
                );
            }
        }
    }
}
