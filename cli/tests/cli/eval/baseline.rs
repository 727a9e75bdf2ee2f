//! Comparison with an earlier result.

use std::fs;

use serde_json::json;

use super::evaluate;
use super::scenes::dataset;

const TASKS: [&str; 4] = ["--tasks", "od,ocr", "--limit", "2"];

#[test]
fn worse_metrics_are_marked() {
    let folder = dataset();
    let file = folder.path().join("baseline.json");
    let path = file.to_str().unwrap();
    let report = evaluate(folder.path(), &[&TASKS[..], &["--format", "json"]].concat(), 0).json();
    let compared = |args: &[&str], code| {
        let args = [&TASKS[..], &["--baseline", path], args].concat();
        evaluate(folder.path(), &args, code)
    };

    fs::write(&file, report.to_string()).unwrap();
    let same = compared(&[], 0);
    let table = same.text();
    let rows = table.lines().take_while(|line| !line.is_empty());
    assert!(rows.clone().count() == 3, "{same:?}");
    assert!(rows.clone().all(|row| !row.contains('(')), "{same:?}");

    // Values that are better or worse than any the model can have.
    let with = |quality: f64, errors: f64| {
        let mut report = report.clone();
        for task in report["tasks"].as_array_mut().unwrap() {
            for (metric, value) in task["metrics"].as_object_mut().unwrap() {
                let is_error = metric == "character_error_rate" || metric == "truncated";
                *value = json!(if is_error { errors } else { quality });
            }
        }
        report.to_string()
    };
    fs::write(&file, with(-1.0, 99.0)).unwrap();
    let better = compared(&[], 0);
    let table = better.text();
    let row = table.lines().find(|line| line.starts_with("od ")).unwrap();
    assert!(
        row.contains(" (+") && row.contains(" (-") && !row.contains('!'),
        "{better:?}"
    );

    fs::write(&file, with(1.5, -0.5)).unwrap();
    let worse = compared(&[], 1);
    let table = worse.text();
    let row = table.lines().find(|line| line.starts_with("od ")).unwrap();
    assert!(row.contains(" (-") && row.contains("!)"), "{worse:?}");
    assert!(row.contains("0.0 (+50.00!)"), "no answer is truncated: {worse:?}");
    let message = &worse.stderr;
    assert!(
        message.contains("<OD> F1@0.5") && message.contains("<OCR> CER"),
        "{worse:?}"
    );

    let json = compared(&["--format", "json"], 1).json();
    let comparison = &json["comparison"];
    assert_eq!(
        (&comparison["model"], &comparison["tolerance"]),
        (&json!("demo"), &json!(0.0))
    );
    let changes = comparison["changes"].as_array().unwrap();
    assert_eq!(changes.len(), 6);
    assert!(
        changes.iter().all(|change| change["worse"] == true),
        "{changes:?}"
    );

    fs::write(&file, with(1.0, 0.0)).unwrap();
    compared(&["--tolerance", "100"], 0);
}

#[test]
fn other_scenes_are_no_baseline() {
    let folder = dataset();
    let file = folder.path().join("baseline.json");
    let path = file.to_str().unwrap();
    let args = ["--tasks", "od", "--limit", "1"];
    let report = evaluate(folder.path(), &[&args[..], &["--format", "json"]].concat(), 0);
    fs::write(&file, report.stdout).unwrap();
    let args = ["--tasks", "od", "--limit", "2", "--baseline", path];
    let error = evaluate(folder.path(), &args, 2);
    assert!(error.stderr.contains("other scenes"), "{error:?}");

    for (text, reason) in [("{}", "missing field"), ("od 0.97", "expected")] {
        fs::write(&file, text).unwrap();
        let error = evaluate(folder.path(), &args, 2);
        assert!(
            error.stderr.contains("baseline.json") && error.stderr.contains(reason),
            "{error:?}"
        );
    }
    fs::remove_file(&file).unwrap();
    evaluate(folder.path(), &args, 2);
}
