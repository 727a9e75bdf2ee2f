//! `florence2 parse` and `florence2 tasks`: no model needed.

use serde_json::{Value, json};

use crate::program::{florence2, with_stdin};

fn parse(task: &str, size: &str, raw: &str, more: &[&str]) -> Value {
    florence2(&[&["parse", "-t", task, "--size", size, raw], more].concat())
        .exits(0)
        .json()
}

#[test]
fn results_have_the_shape_of_transformers() {
    let od = parse(
        "od",
        "1000x500",
        "</s><s>car<loc_100><loc_200><loc_500><loc_750></s>",
        &[],
    );
    let result = json!({"<OD>": {"bboxes": [[100.5, 100.25, 500.5, 375.25]], "labels": ["car"]}});
    assert_eq!(
        od,
        json!({"width": 1000, "height": 500, "task": "<OD>", "result": result,
               "raw_text": "</s><s>car<loc_100><loc_200><loc_500><loc_750></s>"})
    );
    let quad = "EXIT<loc_0><loc_0><loc_9><loc_0><loc_9><loc_4><loc_0><loc_4></s>";
    assert_eq!(
        parse("<OCR_WITH_REGION>", "1000x1000", quad, &[])["result"],
        json!({"<OCR_WITH_REGION>": {"quad_boxes": [[0.5, 0.5, 9.5, 0.5, 9.5, 4.5, 0.5, 4.5]], "labels": ["EXIT"]}})
    );
    let polygon = "<loc_1><loc_2><loc_3><loc_4><loc_5><loc_6></s>";
    assert_eq!(
        parse("region-to-segmentation", "1000x1000", polygon, &[])["result"],
        json!({"<REGION_TO_SEGMENTATION>": {"polygons": [[[1.5, 2.5, 3.5, 4.5, 5.5, 6.5]]], "labels": [""]}})
    );
    let found = "cat<poly><loc_1><loc_2><loc_3><loc_4><loc_5><loc_6></poly></s>";
    assert_eq!(
        parse("open-vocabulary-detection", "1000x1000", found, &[])["result"]["<OPEN_VOCABULARY_DETECTION>"],
        json!({"bboxes": [], "bboxes_labels": [], "polygons": [[[1.5, 2.5, 3.5, 4.5, 5.5, 6.5]]], "polygons_labels": ["cat"]})
    );
    assert_eq!(
        parse("caption", "1x1", "<s>a cat</s>", &[])["result"],
        json!({"<CAPTION>": "a cat"})
    );
}

#[test]
fn answers_to_own_tags_are_text() {
    let raw = r#"<s>{"subtotal": "$12.50"}</s>"#;
    assert_eq!(
        parse("<RECEIPT>", "800x600", raw, &[])["result"],
        json!({"<RECEIPT>": r#"{"subtotal": "$12.50"}"#})
    );
    let ran = florence2(&["parse", "-t", "RECEIPT", "-s", "5x5", raw]).exits(2);
    assert!(!ran.stderr.contains("--prompt"), "{}", ran.stderr);
}

#[test]
fn strict_results_are_those_of_transformers() {
    let raw = "café<loc_100><loc_200><loc_500><loc_750>";
    let kept = json!({"bboxes": [[100.5, 100.25, 500.5, 375.25]], "labels": ["café"]});
    assert_eq!(parse("od", "1000x500", raw, &[])["result"]["<OD>"], kept);
    let cut = json!({"bboxes": [[100, 100, 500, 375]], "labels": ["caf"]});
    assert_eq!(parse("od", "1000x500", raw, &["--strict"])["result"]["<OD>"], cut);
}

#[test]
fn malformed_text_is_not_an_error() {
    for raw in [
        "",
        "<loc_5>",
        "<loc_1><loc_2><loc_3>",
        "</s></s>\u{1b}[2J",
        "car<loc_99999999999999999999>",
        "--text",
    ] {
        let found = parse("od", "13x7", raw, &[]);
        assert!(found["result"]["<OD>"]["bboxes"].is_array(), "{raw}: {found}");
    }
}

#[test]
fn raw_text_can_come_from_stdin_and_results_be_text() {
    let args = ["parse", "-t", "od", "-s", "1000x1000", "--format", "text"];
    let ran = with_stdin(&args, "car<loc_0><loc_0><loc_9><loc_9>\n".as_bytes()).exits(0);
    assert_eq!(
        ran.text(),
        "#  label   x1   y1   x2   y2\n1  car    0.5  0.5  9.5  9.5\n"
    );
}

#[test]
fn a_size_and_a_task_are_required() {
    for args in [
        &["-t", "od", "x"][..],
        &["-s", "5x5", "x"],
        &["-t", "od", "-s", "5", "x"],
        &["-t", "no", "-s", "5x5", "x"],
    ] {
        florence2(&[&["parse"], args].concat()).exits(2);
    }
}

#[test]
fn tasks_are_listed() {
    let rows = florence2(&["tasks", "--format", "json"]).exits(0).json();
    let rows = rows.as_array().unwrap();
    assert_eq!(rows.len(), 15);
    assert_eq!(
        rows[5],
        json!({"name": "od", "tag": "<OD>", "input": null, "output": "description_with_bboxes",
               "prompt": "Locate the objects with category name in the image.",
               "summary": "objects: category and box"})
    );
    let table = florence2(&["tasks"]).exits(0).text();
    assert_eq!(table.lines().count(), 16);
    for row in rows {
        assert!(
            table.contains(row["tag"].as_str().unwrap()) && table.contains(row["prompt"].as_str().unwrap())
        );
    }
}
