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

#[test]
fn a_task_s_tag_in_a_prompt_is_the_task() {
    let hotel = scene("hotel.jpg");
    let ask = |args: &[&str]| run(&[args, &["--format", "jsonl", &hotel]].concat());
    let prompt = ask(&["--prompt", "<OPEN_VOCABULARY_DETECTION>the red star"]).exits(0);
    let task = ask(&["-t", "open-vocabulary-detection", "--text", "the red star"]).exits(0);
    let (prompt, task) = (prompt.jsonl().remove(0), task.jsonl().remove(0));
    for field in ["task", "input", "result", "token_ids"] {
        assert_eq!(prompt[field], task[field]);
    }
    assert!(task["result"]["<OPEN_VOCABULARY_DETECTION>"]["bboxes"][0].is_array());
    for (prompt, reason) in [
        ("<CAPTION> describe", "<CAPTION> takes no text"),
        ("<CAPTION_TO_PHRASE_GROUNDING>", "needs a text"),
        ("<REGION_TO_OCR>here", "needs a region"),
    ] {
        let ran = ask(&["--prompt", prompt]).exits(2);
        assert!(ran.stderr.contains(reason), "{}", ran.stderr);
    }
}

#[test]
fn tasks_are_asked_about_each_text_and_region() {
    let hotel = scene("hotel.jpg");
    let args = [
        "-t",
        "open-vocabulary-detection,region-to-category",
        "--text",
        "the red star",
        "--text",
        "a green ring",
        "--region",
        "-0.4,-0.4,480.3,480.3",
        "--region",
        "356,345,443,432",
    ];
    let lines = run(&[&args[..], &["--format", "jsonl", &hotel]].concat())
        .exits(0)
        .jsonl();
    let inputs: Vec<&str> = lines.iter().map(|line| line["input"].as_str().unwrap()).collect();
    let (whole, ring) = (
        "<loc_0><loc_0><loc_999><loc_999>",
        "<loc_741><loc_718><loc_922><loc_900>",
    );
    assert_eq!(inputs, ["the red star", "a green ring", whole, ring]);
    for line in &lines {
        assert_eq!(
            line["timings"]["vision_encoder"],
            lines[0]["timings"]["vision_encoder"]
        );
    }
    let text = run(&[&args[..], &[&hotel]].concat()).exits(0).text();
    assert!(
        text.contains("<OPEN_VOCABULARY_DETECTION> a green ring"),
        "{text}"
    );
    assert!(text.contains("<REGION_TO_CATEGORY> 356,345,443,432"), "{text}");
}

#[test]
fn the_longest_answer_cannot_be_raised() {
    let hotel = scene("hotel.jpg");
    let warning = |tokens: &str| {
        let args = [
            "-t",
            "caption",
            "--num-beams",
            "1",
            "--max-new-tokens",
            tokens,
            "--min-new-tokens",
        ];
        run(&[&args[..], &[tokens, &hotel]].concat()).exits(0).stderr
    };
    let longest = warning("4096");
    assert!(
        longest.contains("256 tokens; the most that this model can generate"),
        "{longest}"
    );
    assert!(warning("5").contains("raise --max-new-tokens"));
}

#[test]
fn masks_are_written_as_images_and_as_rle() {
    let (dir, hotel) = (tempfile::tempdir().unwrap(), scene("hotel.jpg"));
    let folder = dir.path().join("masks");
    let masks = |more: &[&str]| {
        let args = [
            "-t",
            "referring-expression-segmentation",
            "--text",
            "the red star",
            "--format",
            "jsonl",
        ];
        let folder = ["--masks", folder.to_str().unwrap(), &hotel];
        run(&[&args[..], more, &folder].concat())
            .exits(0)
            .jsonl()
            .remove(0)
    };
    let line = masks(&["--rle"]);
    let rle = line["masks"].as_array().unwrap();
    let outlines = line["result"]["<REFERRING_EXPRESSION_SEGMENTATION>"]["polygons"]
        .as_array()
        .unwrap();
    assert_eq!((rle.len(), outlines.len()), (1, 1));
    assert_eq!(rle[0]["size"], serde_json::json!([480, 480]));
    assert!(rle[0]["counts"].is_string());
    assert!(masks(&["--mask-format", "labels"]).get("masks").is_none());

    let read = |name: &str| image::open(folder.join(name)).unwrap().into_luma8();
    let instance = read("hotel-referring-expression-segmentation-1.png");
    let labels = read("hotel-referring-expression-segmentation.png");
    assert_eq!(instance.dimensions(), (480, 480));
    assert!(instance.pixels().any(|pixel| pixel[0] == 255));
    for (one, other) in instance.pixels().zip(labels.pixels()) {
        assert_eq!((one[0] == 255, one[0] == 0), (other[0] == 1, other[0] == 0));
    }
}
