//! `--draw`.

use std::fs;

use image::GenericImageView;

use crate::program::{florence2, scene};

const RUN: [&str; 4] = ["run", "--model", "demo", "-t"];

#[test]
fn answers_are_drawn() {
    let (dir, ring) = (tempfile::tempdir().unwrap(), scene("ring.png"));
    let file = dir.path().join("deep/er/found.jpg");
    let ran = florence2(&[&RUN[..], &["od", "--draw", file.to_str().unwrap(), &ring]].concat()).exits(0);
    assert!(ran.stderr.contains("found.jpg"), "{}", ran.stderr);
    let annotated = image::open(&file).unwrap();
    // Small images are enlarged, so that labels can be read.
    assert_eq!(annotated.dimensions(), (640, 480));
}

#[test]
fn a_folder_gets_an_annotated_image_of_each_image_and_task() {
    let dir = tempfile::tempdir().unwrap();
    let (ring, hotel, missing) = (scene("ring.png"), scene("hotel.jpg"), "missing.png");
    let folder = dir.path().to_str().unwrap();
    let tasks = "od,caption,region-proposal";
    florence2(&[&RUN[..], &[tasks, "--draw", folder, &ring, missing, &hotel]].concat()).exits(1);
    let mut names: Vec<String> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            "hotel-od.png",
            "hotel-region-proposal.png",
            "ring-od.png",
            "ring-region-proposal.png"
        ]
    );
    let [od, proposals] =
        ["hotel-od.png", "hotel-region-proposal.png"].map(|name| image::open(dir.path().join(name)).unwrap());
    assert_eq!(od.dimensions(), proposals.dimensions());
    assert_ne!(od, proposals, "labels differ");
}

#[test]
fn an_annotated_image_can_go_to_stdout() {
    let (dir, ring) = (tempfile::tempdir().unwrap(), scene("ring.png"));
    let results = dir.path().join("found.txt");
    let ran = florence2(
        &[
            &RUN[..],
            &["od", "--draw", "-", "-o", results.to_str().unwrap(), &ring],
        ]
        .concat(),
    )
    .exits(0);
    assert_eq!(
        image::load_from_memory(&ran.stdout).unwrap().dimensions(),
        (640, 480)
    );
    assert!(fs::read_to_string(results).unwrap().contains("ring"));
}
