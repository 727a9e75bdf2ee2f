//! Invalid data sets and unreadable images.

use std::fs;

use image::RgbImage;

use super::evaluate;
use super::scenes::dataset;

#[test]
fn unreadable_images_are_counted() {
    let folder = dataset();
    let scenes = fs::read_to_string(folder.path().join("scenes.jsonl")).unwrap();
    let images: Vec<String> = scenes
        .lines()
        .map(|line| {
            let scene: serde_json::Value = serde_json::from_str(line).unwrap();
            scene["image"].as_str().unwrap().to_owned()
        })
        .collect();
    let args = ["--tasks", "region-to-category", "--format", "json"];
    fs::remove_file(folder.path().join(&images[0])).unwrap();
    fs::write(folder.path().join(&images[1]), "not an image").unwrap();
    RgbImage::new(7, 5).save(folder.path().join(&images[2])).unwrap();
    let ran = evaluate(folder.path(), &args, 1);
    let report = ran.json();
    assert_eq!(report["dataset"]["scenes"], 2);
    let unread = report["dataset"]["unread"].as_array().unwrap();
    assert_eq!(unread.len(), 3);
    for (scene, image) in unread.iter().zip(&images) {
        assert_eq!(scene["image"], *image);
        assert!(ran.stderr.contains(image), "{}", ran.stderr);
    }
    assert!(
        unread[2]["reason"].as_str().unwrap().contains("7x5"),
        "{unread:?}"
    );
    assert!(
        ran.stderr.contains("3 scenes are not in the result"),
        "{}",
        ran.stderr
    );

    for image in &images[3..] {
        fs::remove_file(folder.path().join(image)).unwrap();
    }
    let none = evaluate(folder.path(), &args, 2);
    assert!(
        none.stderr.contains("not one image") && none.stdout.is_empty(),
        "{none:?}"
    );
}

#[test]
fn invalid_data_sets_are_rejected() {
    let folder = tempfile::tempdir().unwrap();
    let missing = evaluate(&folder.path().join("nowhere"), &[], 2);
    assert!(missing.stderr.contains("docs/evaluation.md"), "{missing:?}");

    let good = r#"{"image": "a.png", "width": 9, "height": 9, "samples": []}"#;
    fs::write(
        folder.path().join("scenes.jsonl"),
        format!("{good}\n{good}\n{{}}\n"),
    )
    .unwrap();
    let bad = evaluate(folder.path(), &[], 2);
    assert!(
        bad.stderr.contains("scenes.jsonl: line 3: missing field"),
        "{bad:?}"
    );
    let empty = evaluate(folder.path(), &["--limit", "2"], 2);
    assert!(empty.stderr.contains("no sample"), "{empty:?}");
    let unknown = evaluate(folder.path(), &["--tasks", "odd"], 2);
    assert!(unknown.stderr.contains("ocr-with-region"), "{unknown:?}");
    let alone = evaluate(folder.path(), &["--tolerance", "1"], 2);
    assert!(alone.stderr.contains("--baseline"), "{alone:?}");
}
