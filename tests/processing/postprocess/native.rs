//! Comparison with transformers: see `tests/reference/make_postprocess.py`.

use std::fs::File;
use std::io::{BufRead, BufReader};

use flate2::read::GzDecoder;
use florence2::postprocess::{ParseOptions, RawAnswer, parse};
use florence2::{CoordinateFormat, ImageSize, OutputKind, TaskKind};
use serde_json::Value;

/// An answer and transformers' result.
struct Case {
    task: TaskKind,
    text: String,
    size: ImageSize,
    /// `None` if transformers raises an exception.
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

    /// Returns this crate's result with integer coordinates.
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

    /// Returns the result without deviations 1 and 2: the labels of boxes in ASCII.
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

    /// Returns whether one of the deviations 3 to 5 may apply.
    fn deviates(&self) -> bool {
        let area = self.options.ocr_area_threshold > 0.0;
        let newline = self.task == TaskKind::OcrWithRegion && self.text.contains('\n');
        // Native removes `<pad>` except from plain text.
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
fn strict_results_equal_transformers() {
    let (mut compared, mut refused) = (0, 0);
    for case in corpus() {
        let ours = case.ours(true);
        match &case.native {
            Some(native) => {
                compared += 1;
                assert_eq!(&ours, native, "{:?} {:?} {:?}", case.task, case.size, case.text);
            }
            // Deviation 6: the rest of the answer is still parsed.
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
fn results_equal_transformers_except_for_the_listed_deviations() {
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
