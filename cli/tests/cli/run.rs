//! `florence2 run`.

use serde_json::Value;

use crate::program::{Ran, exported, florence2, scene};

fn run(args: &[&str]) -> Ran {
    florence2(&[&["run", "--model", "demo"], args].concat())
}

#[test]
fn several_tasks_on_several_images_as_json_lines() {
    let (hotel, ring) = (scene("hotel.jpg"), scene("ring.png"));
    let lines = run(&[
        "--task",
        "od",
        "-t",
        "<CAPTION>",
        "--format",
        "jsonl",
        &hotel,
        &ring,
    ])
    .exits(0)
    .jsonl();
    let about: Vec<(&str, &str)> = lines
        .iter()
        .map(|line| (line["path"].as_str().unwrap(), line["task"].as_str().unwrap()))
        .collect();
    let (hotel, ring) = (hotel.as_str(), ring.as_str());
    assert_eq!(
        about,
        [
            (hotel, "<OD>"),
            (hotel, "<CAPTION>"),
            (ring, "<OD>"),
            (ring, "<CAPTION>")
        ]
    );

    for (line, (width, height)) in lines.iter().zip([(480, 480), (480, 480), (554, 416), (554, 416)]) {
        assert_eq!((&line["width"], &line["height"]), (&width.into(), &height.into()));
        let ids = line["token_ids"].as_array().unwrap();
        assert_eq!((ids.first(), ids.last()), (Some(&0.into()), Some(&2.into())));
        assert!(line["raw_text"].as_str().unwrap().starts_with("<s>"));
        assert!(line["score"].as_f64().unwrap() <= 0.0);
        assert_eq!(line["truncated"], false);
        for stage in [
            "preprocess",
            "vision_encoder",
            "text_encoder",
            "generation",
            "postprocess",
        ] {
            assert!(line["timings"][stage].as_f64().unwrap() >= 0.0, "{stage}");
        }
        assert!(line.get("sequences").is_none());
    }
    check_detections(&lines[0], "star");
    check_detections(&lines[2], "ring");
    assert!(lines[1]["result"]["<CAPTION>"].as_str().unwrap().contains("star"));
    assert_eq!(lines[1]["scores"], Value::Array(Vec::new()));
    // Both tasks share a pass of the vision encoder.
    assert_eq!(
        lines[0]["timings"]["vision_encoder"],
        lines[1]["timings"]["vision_encoder"]
    );
    assert_ne!(
        lines[0]["timings"]["vision_encoder"],
        lines[2]["timings"]["vision_encoder"]
    );
}

fn check_detections(line: &Value, label: &str) {
    let found = &line["result"]["<OD>"];
    let (boxes, labels) = (
        found["bboxes"].as_array().unwrap(),
        found["labels"].as_array().unwrap(),
    );
    assert!(labels.contains(&label.into()), "{labels:?}");
    assert_eq!(boxes.len(), labels.len());
    let scores = line["scores"].as_array().unwrap();
    assert_eq!(scores.len(), labels.len());
    assert!(
        scores
            .iter()
            .all(|score| (0.0..=1.0).contains(&score.as_f64().unwrap()))
    );
    let side = line["width"].as_f64().unwrap();
    for corner in boxes.iter().flat_map(|bbox| bbox.as_array().unwrap()) {
        assert!((0.0..=side).contains(&corner.as_f64().unwrap()));
    }
}

#[test]
fn json_is_one_array() {
    let ring = scene("ring.png");
    let records = run(&["-t", "caption,region-proposal", "--format", "json", &ring])
        .exits(0)
        .json();
    let tasks: Vec<&Value> = records
        .as_array()
        .unwrap()
        .iter()
        .map(|record| &record["task"])
        .collect();
    assert_eq!(tasks, ["<CAPTION>", "<REGION_PROPOSAL>"]);
}

#[test]
fn inputs_go_to_the_tasks_that_take_them() {
    let hotel = scene("hotel.jpg");
    let args = [
        "-t",
        "caption-to-phrase-grounding,region-to-category,od",
        "--text",
        "A green ring.",
        "--region",
        "356,345,443,432",
        "--prompt",
        "What does the image describe?",
        "--format",
        "jsonl",
        &hotel,
    ];
    let lines = run(&args).exits(0).jsonl();
    assert_eq!(lines[0]["input"], "A green ring.");
    assert!(lines[0]["result"]["<CAPTION_TO_PHRASE_GROUNDING>"]["bboxes"].is_array());
    assert_eq!(lines[1]["input"], "<loc_741><loc_718><loc_922><loc_900>");
    assert!(
        lines[1]["result"]["<REGION_TO_CATEGORY>"]
            .as_str()
            .unwrap()
            .contains("ring")
    );
    assert!(lines[2].get("input").is_none());
    // A raw prompt is passed unchanged; this one is the caption's.
    assert_eq!(lines[3]["task"], "What does the image describe?");
    assert!(
        lines[3]["result"]["What does the image describe?"]
            .as_str()
            .unwrap()
            .contains("star")
    );
}

#[test]
fn text_has_headings_and_tables() {
    let ring = scene("ring.png");
    let alone = florence2(&["run", "-t", "caption", &ring]).exits(0);
    assert_eq!(alone.text().lines().count(), 1, "{}", alone.text());
    assert!(alone.text().contains("ring"));
    assert!(alone.stderr.contains("no --model is given"), "{}", alone.stderr);
    let quiet = florence2(&["run", "--quiet", "-t", "caption", &ring]).exits(0);
    assert_eq!((quiet.text(), quiet.stderr.as_str()), (alone.text(), ""));

    let both = run(&["-t", "caption,od", &ring]).exits(0).text();
    assert!(
        both.contains(&format!("{ring}  <CAPTION>\n  {}", alone.text())),
        "{both}"
    );
    assert!(both.contains("  #  label"), "{both}");
    assert!(!both.contains('\u{1b}'), "styles are for terminals");
}

#[test]
fn search_settings_change_the_answer() {
    let ring = scene("ring.png");
    let line = |args: &[&str]| {
        let ran = run(&[&["-t", "caption", "--format", "jsonl", ring.as_str()], args].concat()).exits(0);
        (ran.jsonl().remove(0), ran.stderr)
    };
    let (best, _) = line(&[
        "--num-beams",
        "4",
        "--num-return-sequences",
        "3",
        "--length-penalty",
        "-0.5",
    ]);
    let sequences = best["sequences"].as_array().unwrap();
    assert_eq!(sequences.len(), 3);
    let scores: Vec<f64> = sequences
        .iter()
        .map(|sequence| sequence["score"].as_f64().unwrap())
        .collect();
    assert!(scores.is_sorted_by(|a, b| a >= b), "{scores:?}");
    for field in ["result", "raw_text", "token_ids", "score"] {
        assert_eq!(sequences[0][field], best[field]);
        assert_ne!(sequences[1][field], best[field]);
    }

    let (short, warnings) = line(&["--max-new-tokens", "3", "--temperature", "0.5"]);
    assert_eq!(short["token_ids"].as_array().unwrap().len(), 3);
    assert!(
        warnings.contains("--do-sample") && warnings.contains("--temperature"),
        "{warnings}"
    );

    let sampled = |seed| {
        line(&[
            "--do-sample",
            "--num-beams",
            "1",
            "--temperature",
            "3",
            "--seed",
            seed,
        ])
        .0
    };
    let ids = |seed| sampled(seed)["token_ids"].clone();
    assert_eq!(ids("7"), ids("7"));
    assert_ne!(ids("7"), ids("8"));
}

#[test]
fn streamed_text_is_the_answer() {
    let ring = scene("ring.png");
    let whole = run(&["-t", "caption", "--num-beams", "1", &ring]).exits(0).text();
    assert_eq!(run(&["-t", "caption", "--stream", &ring]).exits(0).text(), whole);
}

#[test]
fn an_exported_model_answers_as_the_embedded_one() {
    let ring = scene("ring.png");
    let args = ["-t", "od,ocr-with-region", "--format", "jsonl", &ring];
    let model = exported().to_str().unwrap();
    let from_folder = florence2(&[&["run", "--model", model], &args[..]].concat())
        .exits(0)
        .jsonl();
    let embedded = run(&args).exits(0).jsonl();
    for (one, other) in from_folder.iter().zip(&embedded) {
        assert_eq!(one["token_ids"], other["token_ids"]);
        assert_eq!(one["result"], other["result"]);
    }
}

#[test]
fn the_image_backend_can_be_chosen() {
    let ring = scene("ring.png");
    let ask = |backend: &[&str]| {
        let answer = run(&[&["-t", "caption", "--format", "jsonl", &ring], backend].concat()).exits(0);
        answer.jsonl()[0].clone()
    };
    let [default, pillow, torchvision] = [
        ask(&[]),
        ask(&["--image-backend", "pillow"]),
        ask(&["--image-backend", "torchvision"]),
    ];
    assert_eq!(default["score"], pillow["score"]);
    assert_ne!(default["score"], torchvision["score"]);
    assert_eq!(default["token_ids"], torchvision["token_ids"]);
}
