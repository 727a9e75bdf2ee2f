//! `florence2 demo`.

use std::fs;

use image::GenericImageView;

use crate::program::florence2;

#[test]
fn every_task_is_shown_and_drawn() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("images");
    let text = florence2(&["demo", "--out", out.to_str().unwrap()])
        .exits(0)
        .text();
    let tasks = florence2(&["tasks", "--format", "json"]).exits(0).json();
    for task in tasks.as_array().unwrap() {
        let name = task["name"].as_str().unwrap();
        assert!(
            text.lines().any(|line| line.starts_with(&format!("{name}  "))),
            "{name}: {text}"
        );
        let annotated = out.join(format!("hotel-{name}.png"));
        let drawable = task["output"] != "pure_text";
        assert_eq!(annotated.exists(), drawable, "{name}");
        assert_eq!(
            text.contains(annotated.to_str().unwrap()),
            drawable,
            "{name}: {text}"
        );
        if drawable {
            assert_eq!(image::open(annotated).unwrap().dimensions(), (640, 640));
        }
    }
    assert!(out.join("hotel.jpg").exists());
    assert_eq!(fs::read_dir(&out).unwrap().count(), 9);
    assert!(text.contains("ring"), "{text}");
}

#[test]
fn scenes_are_counted_from_one() {
    for wrong in ["0", "99", "hotel"] {
        assert!(
            florence2(&["demo", "--scene", wrong])
                .exits(2)
                .stderr
                .contains("from 1 to 4")
        );
    }
}
