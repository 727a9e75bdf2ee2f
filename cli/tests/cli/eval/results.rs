//! Values and formats of the result.

use super::evaluate;
use super::scenes::dataset;

#[test]
fn the_demo_model_sees_its_scenes() {
    let folder = dataset();
    let report = evaluate(folder.path(), &["--format", "json"], 0).json();
    assert_eq!(report["model"], "demo");
    assert_eq!(report["num_beams"], 3);
    assert_eq!(
        report["dataset"]["path"].as_str(),
        folder.path().to_str(),
        "{report}"
    );
    assert_eq!(report["dataset"]["scenes"], 5);
    assert_eq!(report["dataset"]["sha256"].as_str().unwrap().len(), 64);
    assert_eq!(report["dataset"]["unread"].as_array().unwrap().len(), 0);
    assert!(report["seconds_per_image"].as_f64().unwrap() > 0.0);
    assert!(report.get("comparison").is_none());

    let tasks = report["tasks"].as_array().unwrap();
    let rows: Vec<(&str, Vec<&str>)> = tasks
        .iter()
        .map(|row| {
            let metrics = row["metrics"].as_object().unwrap().keys();
            (
                row["task"].as_str().unwrap(),
                metrics.map(String::as_str).collect(),
            )
        })
        .collect();
    let read = vec!["exact", "character_error_rate", "truncated"];
    for (task, metrics) in [
        ("<CAPTION>", vec!["exact", "truncated"]),
        ("<OCR>", read.clone()),
        ("<OD>", vec!["f1", "mean_iou", "truncated"]),
        ("<DENSE_REGION_CAPTION>", vec!["f1", "mean_iou", "truncated"]),
        ("<REGION_PROPOSAL>", vec!["f1", "mean_iou", "truncated"]),
        ("<REGION_TO_SEGMENTATION>", vec!["mask_iou", "truncated"]),
        ("<OPEN_VOCABULARY_DETECTION>", vec!["f1", "mean_iou", "truncated"]),
        ("<REGION_TO_CATEGORY>", vec!["exact", "truncated"]),
        ("<REGION_TO_OCR>", read),
    ] {
        assert!(rows.contains(&(task, metrics)), "{task}: {rows:?}");
    }
    let ocr_with_region = rows
        .iter()
        .find(|(task, _)| *task == "<OCR_WITH_REGION>")
        .unwrap();
    assert!(ocr_with_region.1.contains(&"f1"), "{ocr_with_region:?}");
    assert_eq!(rows.len(), 10, "{rows:?}");

    let od = tasks.iter().find(|row| row["task"] == "<OD>").unwrap();
    assert_eq!(od["answers"], 5);
    assert!(od["seconds_per_answer"].as_f64().unwrap() > 0.0);
    assert!(od["tokens_per_answer"].as_f64().unwrap() > 10.0);
    // The scenes are the demo model's own samples, on which it does well.
    for (task, metric, least) in [
        ("<OD>", "f1", 0.9),
        ("<OD>", "mean_iou", 0.8),
        ("<REGION_PROPOSAL>", "f1", 0.9),
        ("<DENSE_REGION_CAPTION>", "f1", 0.9),
        ("<OPEN_VOCABULARY_DETECTION>", "f1", 0.9),
        ("<REGION_TO_SEGMENTATION>", "mask_iou", 0.75),
        ("<REGION_TO_CATEGORY>", "exact", 0.9),
    ] {
        let row = tasks.iter().find(|row| row["task"] == task).unwrap();
        let value = row["metrics"][metric].as_f64().unwrap();
        assert!((least..=1.0).contains(&value), "{task} {metric}: {value}");
    }
}

#[test]
fn batches_give_the_answers_of_single_samples() {
    let folder = dataset();
    let args = ["--tasks", "dense-region-caption,open-vocabulary-detection"];
    let measured = |batch_size: &str| {
        let args = [&args[..], &["--format", "json", "--batch-size", batch_size]].concat();
        evaluate(folder.path(), &args, 0).json()
    };
    let (single, batched) = (measured("1"), measured("2"));
    assert_eq!(batched["batch_size"], 2);
    for (single, batched) in single["tasks"]
        .as_array()
        .unwrap()
        .iter()
        .zip(batched["tasks"].as_array().unwrap())
    {
        for key in ["task", "answers", "metrics", "tokens_per_answer"] {
            assert_eq!(single[key], batched[key]);
        }
    }
    assert_eq!(single["tasks"].as_array().unwrap().len(), 2);
}

#[test]
fn tables_have_a_row_for_each_task() {
    let folder = dataset();
    let args = ["--tasks", "od,<CAPTION>", "--limit", "2", "--num-beams", "1"];
    let table = evaluate(folder.path(), &args, 0).text();
    let lines: Vec<&str> = table.lines().collect();
    let head: Vec<&str> = lines[0].split_whitespace().collect();
    assert_eq!(
        head.join(" "),
        "task answers F1@0.5 mean IoU exact truncated tokens ms"
    );
    let row = |line: &str| -> Vec<String> { line.split_whitespace().take(3).map(str::to_owned).collect() };
    assert_eq!(row(lines[1])[..2], ["caption", "2"]);
    assert_eq!(row(lines[2])[..2], ["od", "2"]);
    assert!(
        row(lines[2])[2].parse::<f64>().unwrap() > 50.0,
        "percent: {table}"
    );
    assert!(
        lines[4].starts_with("Model demo, 2 scenes, greedy search."),
        "{table}"
    );

    let args = [&args[..], &["--format", "markdown"]].concat();
    let markdown = evaluate(folder.path(), &args, 0).text();
    assert!(markdown.starts_with("| task"), "{markdown}");
    assert!(
        markdown.lines().nth(1).unwrap().starts_with("| ---"),
        "{markdown}"
    );
    assert!(markdown.contains("\n| od "), "{markdown}");
}
