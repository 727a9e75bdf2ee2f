//! Invalid images among valid ones.

use std::fs;

use crate::program::{florence2, scene};

#[test]
fn bad_images_do_not_stop_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (text, empty, cut) = (path("text.png"), path("empty.jpg"), path("cut.jpg"));
    fs::write(&text, "this is not an image").unwrap();
    fs::write(&empty, "").unwrap();
    let jpeg = fs::read(scene("hotel.jpg")).unwrap();
    fs::write(&cut, &jpeg[..jpeg.len() / 2]).unwrap();
    let (missing, folder) = (path("missing.png"), dir.path().to_str().unwrap().to_owned());
    let (first, last) = (scene("ring.png"), scene("hotel.jpg"));

    let inputs = [&first, &missing, &folder, &text, &empty, &cut, &last].map(String::as_str);
    let args = ["run", "--model", "demo", "-t", "caption", "--format"];
    let ran = florence2(&[&args[..], &["json"], &inputs].concat()).exits(1);
    let records = ran.json();
    let records = records.as_array().unwrap();
    assert_eq!(records.len(), inputs.len());
    for (record, input) in records.iter().zip(inputs) {
        assert_eq!(record["path"], input);
        let good = input == first || input == last;
        assert_eq!(record.get("result").is_some(), good, "{record}");
        assert_eq!(record.get("error").is_none(), good, "{record}");
    }
    let errors: Vec<&str> = ran
        .stderr
        .lines()
        .filter(|line| line.starts_with("error: "))
        .collect();
    assert_eq!(errors.len(), 5, "{}", ran.stderr);
    for (error, (input, reason)) in errors.iter().zip([
        (&missing, "No such file"),
        (&folder, "is a folder"),
        (&text, "cannot be read as an image"),
        (&empty, "cannot be read as an image"),
        (&cut, "truncated"),
    ]) {
        assert_eq!(
            error.matches(input.as_str()).count(),
            1 + usize::from(*input == folder),
            "{error}"
        );
        assert!(error.contains(reason), "{error}");
    }

    // As text, stdout has the valid ones only.
    let text = florence2(&[&args[..], &["text"], &inputs].concat())
        .exits(1)
        .text();
    assert_eq!(text.matches("<CAPTION>").count(), 2, "{text}");
}

#[test]
fn a_region_outside_one_image_is_that_image_s_failure() {
    let (small, big) = (scene("ring.png"), scene("hotel.jpg"));
    let args = [
        "-t",
        "region-to-category,caption",
        "--region",
        "400,400,450,450",
        "--format",
        "jsonl",
        &small,
        &big,
    ];
    let ran = florence2(&[&["run", "--model", "demo"], &args[..]].concat()).exits(1);
    let lines = ran.jsonl();
    assert_eq!(lines.len(), 4);
    assert_eq!(lines[0]["task"], "<REGION_TO_CATEGORY>");
    assert!(
        lines[0]["error"].as_str().unwrap().contains("outside the image"),
        "{}",
        lines[0]
    );
    assert!(lines[1..].iter().all(|line| line.get("error").is_none()));
    assert!(ran.stderr.contains(&small), "{}", ran.stderr);
}

#[test]
fn images_over_the_limit_are_rejected() {
    let ran = florence2(&[
        "run",
        "--model",
        "demo",
        "-t",
        "caption",
        "--max-pixels",
        "1000",
        &scene("ring.png"),
    ])
    .exits(1);
    assert!(ran.stderr.contains("554x416"), "{}", ran.stderr);
    assert_eq!(ran.text(), "");
}
