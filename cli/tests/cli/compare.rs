//! `florence2 compare`.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde_json::Value;

use crate::program::{copy, exported, florence2, repository, scene};

const TASKS: &str = "caption,od,ocr-with-region,region-proposal";

/// Exports the demo model with noise on its weights: a similar model with other answers.
fn noisy() -> &'static Path {
    static NOISY: OnceLock<PathBuf> = OnceLock::new();
    NOISY.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("noisy");
        let _ = fs::remove_dir_all(&folder);
        let (checkpoint, out) = (folder.join("checkpoint"), folder.join("model"));
        copy(&repository("models/demo/checkpoint"), &checkpoint, "");
        let weights = checkpoint.join("model.safetensors");
        let mut bytes = fs::read(&weights).unwrap();
        let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let mut random = 1u32;
        // f16, little-endian: the lower bits of the mantissa.
        for value in bytes[header..].chunks_exact_mut(2) {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            value[0] ^= (random >> 25) as u8;
        }
        fs::write(&weights, bytes).unwrap();
        let [checkpoint, out_text] = [&checkpoint, &out].map(|path| path.to_str().unwrap());
        florence2(&["export", checkpoint, "--out", out_text]).exits(0);
        out
    })
}

fn compared(candidate: &Path, more: &[&str]) -> Value {
    let candidate = candidate.to_str().unwrap();
    let models = [
        "compare",
        "--reference",
        "demo",
        "--candidate",
        candidate,
        "--format",
        "json",
    ];
    florence2(&[&models[..], more].concat()).exits(0).json()
}

/// Returns the tokens of each answer.
fn answered(model: &str, more: &[&str]) -> Vec<Vec<u64>> {
    let lines = florence2(&[&["run", "--model", model, "--format", "jsonl"], more].concat())
        .exits(0)
        .jsonl();
    lines
        .iter()
        .map(|line| {
            let ids = line["token_ids"].as_array().unwrap().iter();
            ids.map(|id| id.as_u64().unwrap()).collect()
        })
        .collect()
}

#[test]
fn a_model_equals_itself_on_every_task() {
    let hotel = scene("hotel.jpg");
    let args = [
        "--text",
        "a green ring",
        "--region",
        "356,345,443,432",
        "--teacher-forced",
        "--fail-below",
        "1",
        &hotel,
    ];
    let report = compared(exported(), &args);
    assert_eq!(report["tasks"].as_array().unwrap().len(), 15, "{report:#}");
    let overall = &report["overall"];
    assert_eq!(overall["answers"], 15);
    for figure in [
        "token_agreement",
        "teacher_forced_agreement",
        "exact",
        "same_text",
        "f1",
        "mask_iou",
    ] {
        assert_eq!(overall[figure], 1.0, "{figure}: {overall:#}");
    }
    assert!((overall["mean_iou"].as_f64().unwrap() - 1.0).abs() < 1e-6);
    assert_eq!(overall["score_difference"], 0.0);
    for answer in report["answers"].as_array().unwrap() {
        assert!(answer.get("divergence").is_none());
        let forced = &answer["teacher_forced"];
        // All tokens but the first, which is forced.
        assert_eq!(
            forced["of"].as_u64().unwrap() + 1,
            answer["tokens"].as_u64().unwrap()
        );
    }
}

#[test]
fn the_candidate_may_have_its_own_devices_and_dtypes() {
    let hotel = scene("hotel.jpg");
    let same = compared(
        exported(),
        &["--candidate-device", "cpu", "--task", "caption", &hotel],
    );
    assert_eq!(same["overall"]["token_agreement"], 1.0);
    for (option, value, reason) in [
        ("--candidate-device", "cuda:0", "cuda:0"),
        ("--candidate-dtype", "q4", "vision_encoder_q4.onnx"),
    ] {
        let model = exported().to_str().unwrap();
        let args = [
            "compare",
            "--reference",
            model,
            "--candidate",
            model,
            option,
            value,
            &hotel,
        ];
        let ran = florence2(&args).exits(2);
        assert!(ran.stderr.contains(reason), "{option}: {}", ran.stderr);
    }
}

#[test]
fn without_an_input_only_tasks_that_need_none_run() {
    let ring = scene("ring.png");
    let report = compared(exported(), &["--max-new-tokens", "3", &ring]);
    let tasks: Vec<&str> = report["tasks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|summary| summary["task"].as_str().unwrap())
        .collect();
    assert_eq!(tasks.len(), 8);
    assert!(tasks.contains(&"<OCR_WITH_REGION>") && !tasks.contains(&"<CAPTION_TO_PHRASE_GROUNDING>"));
    assert!(report["answers"][0]["tokens"].as_u64().unwrap() <= 3);
}

#[test]
fn first_differences_are_located() {
    let (hotel, ring) = (scene("hotel.jpg"), scene("ring.png"));
    for beams in ["1", "3"] {
        let args = ["-t", TASKS, "--num-beams", beams, &hotel, &ring];
        let reference = answered("demo", &args);
        let candidate = answered(noisy().to_str().unwrap(), &args);
        assert_ne!(reference, candidate, "the noise is too weak for this test");
        let report = compared(noisy(), &args);

        let (mut same, mut all) = (0, 0);
        let answers = report["answers"].as_array().unwrap();
        assert_eq!(answers.len(), reference.len());
        for (answer, (one, other)) in answers.iter().zip(reference.iter().zip(&candidate)) {
            let position = one.iter().zip(other).take_while(|(a, b)| a == b).count();
            let tokens = one.len().max(other.len());
            assert_eq!(answer["same_tokens"], position);
            assert_eq!(answer["tokens"], tokens);
            assert_eq!(answer["exact"], one == other);
            (same, all) = (same + position, all + tokens);
            let Some(divergence) = answer.get("divergence") else {
                assert_eq!(one, other);
                continue;
            };
            assert_eq!(divergence["position"], position);
            assert_eq!(divergence["reference"]["id"], one[position]);
            assert_eq!(divergence["candidate"]["id"], other[position]);
            let gap = divergence["gap"].as_f64().unwrap();
            // Greedy search takes the likeliest token, unless that would repeat an n-gram.
            assert!(gap.is_finite() && (beams != "1" || gap >= 0.0), "{gap}");
        }
        let agreement = report["overall"]["token_agreement"].as_f64().unwrap();
        assert!((agreement - f64::from(same as u32) / f64::from(all as u32)).abs() < 1e-9);
        assert!(report["overall"]["score_difference"].as_f64().unwrap() > 0.0);
    }
}

#[test]
fn fail_below_sets_the_exit_code() {
    let (hotel, noisy) = (scene("hotel.jpg"), noisy().to_str().unwrap());
    let args = [
        "compare",
        "--reference",
        "demo",
        "--candidate",
        noisy,
        "-t",
        TASKS,
        "--fail-below",
    ];
    let ran = florence2(&[&args[..], &["1", &hotel]].concat()).exits(1);
    assert!(ran.stderr.contains("of the tokens agree"), "{}", ran.stderr);
    let text = ran.text();
    assert!(text.contains("answers differ") && text.contains("<OD>"), "{text}");
    assert!(text.lines().any(|line| line.starts_with("  all ")), "{text}");
    florence2(&[&args[..], &["0", &hotel]].concat()).exits(0);
}

#[test]
fn invalid_images_and_regions_do_not_stop_the_others() {
    let (ring, hotel) = (scene("ring.png"), scene("hotel.jpg"));
    let args = [
        "compare",
        "--reference",
        "demo",
        "--candidate",
        "demo",
        "-t",
        "caption,region-to-category",
    ];
    let more = [
        "--region",
        "400,400,450,450",
        "--format",
        "json",
        "no/such.png",
        &ring,
        &hotel,
    ];
    let ran = florence2(&[&args[..], &more].concat()).exits(1);
    let report = ran.json();
    assert_eq!(report["overall"]["answers"], 3);
    let failures = report["failures"].as_array().unwrap();
    assert_eq!(failures.len(), 2);
    assert_eq!(failures[0]["path"], "no/such.png");
    assert!(failures[0].get("task").is_none());
    assert_eq!(failures[1]["task"], "<REGION_TO_CATEGORY>");
    assert_eq!(ran.stderr.matches("error: ").count(), 2, "{}", ran.stderr);
}

#[test]
fn invalid_comparisons_are_rejected() {
    let ring = scene("ring.png");
    let both = ["--reference", "demo", "--candidate", "demo"];
    for (args, reason) in [
        (
            &[&both[..], &["--fail-below", "2", &ring]].concat()[..],
            "from 0 to 1",
        ),
        (&[&both[..], &["-t", "odd", &ring]].concat(), "the tasks are"),
        (
            &[&both[..], &["-t", "od", "--text", "a cat", &ring]].concat(),
            "--text is for",
        ),
        (&both, "IMAGE"),
        (&["--reference", "demo", &ring], "--candidate"),
        (
            &["--reference", "demo", "--candidate", "no/such/model", &ring],
            "no/such/model",
        ),
    ] {
        let ran = florence2(&[&["compare"], args].concat()).exits(2);
        assert!(ran.stderr.contains(reason), "{args:?}: {}", ran.stderr);
        assert_eq!(ran.text(), "");
    }
}
