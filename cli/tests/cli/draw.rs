//! `--draw`.

use std::fs;

use image::GenericImageView;

use crate::program::{copy, exported, florence2, scene};

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

#[test]
fn images_of_the_same_name_are_drawn_into_their_folders() {
    let dir = tempfile::tempdir().unwrap();
    let images = ["train", "val"].map(|folder| {
        let folder = dir.path().join(folder);
        fs::create_dir(&folder).unwrap();
        let image = folder.join("1.png");
        fs::copy(scene("ring.png"), &image).unwrap();
        image.to_str().unwrap().to_owned()
    });
    let drawn = format!("{}/drawn/", dir.path().to_str().unwrap());
    let draw = |images: [&String; 2]| {
        florence2(&[&RUN[..], &["od", "--draw", &drawn, images[0], images[1]]].concat())
    };
    draw([&images[0], &images[1]]).exits(0);
    for name in ["train/1-od.png", "val/1-od.png"] {
        assert!(dir.path().join("drawn").join(name).is_file(), "{name}");
    }
    let twice = draw([&images[0], &images[0]]).exits(2);
    assert!(twice.stderr.contains("given twice"), "{}", twice.stderr);
}

#[test]
fn answers_to_own_tags_are_drawn_under_their_names() {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("model");
    copy(exported(), &model, "");
    let file = model.join("preprocessor_config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    for tag in ["<CELL_OD>", "<PARTS>"] {
        config["task_prompts_without_inputs"][tag] =
            "Locate the objects with category name in the image.".into();
        config["tasks_answer_post_processing_type"][tag] = "description_with_bboxes".into();
    }
    fs::write(&file, config.to_string()).unwrap();
    let (model, hotel) = (model.to_str().unwrap(), scene("hotel.jpg"));
    let drawn = format!("{}/drawn/", dir.path().to_str().unwrap());
    let args = [
        "run",
        "-m",
        model,
        "-t",
        "od",
        "--prompt",
        "<CELL_OD>",
        "--prompt",
        "<PARTS>",
        "--draw",
        &drawn,
    ];
    florence2(&[&args[..], &[&hotel]].concat()).exits(0);
    let image = |name: &str| image::open(dir.path().join("drawn").join(name)).unwrap();
    let od = image("hotel-od.png");
    assert!(od == image("hotel-cell-od.png") && od == image("hotel-parts.png"));

    let out = dir.path().join("out.png");
    let args = ["run", "-m", model, "--draw", out.to_str().unwrap(), "--prompt"];
    florence2(&[&args[..], &["<CELL_OD>", &hotel]].concat()).exits(0);
    assert!(out.is_file());
    let text = florence2(&[&args[..], &["<UNKNOWN>", &hotel]].concat()).exits(2);
    assert!(text.stderr.contains("none of the tasks"), "{}", text.stderr);

    let raw = "car<loc_100><loc_200><loc_500><loc_750>";
    let parsed = florence2(&["parse", "-t", "<CELL_OD>", "-m", model, "-s", "1000x1000", raw]);
    let found = parsed.exits(0).json();
    assert_eq!(found["result"]["<CELL_OD>"]["labels"], serde_json::json!(["car"]));

    let bench = [
        "bench",
        "-m",
        model,
        "--prompt",
        "<CELL_OD>",
        "--repeat",
        "1",
        "--warmup",
        "0",
        "--format",
        "json",
    ];
    let run = florence2(&bench).exits(0).json();
    assert_eq!(run["settings"]["task"], "<CELL_OD>");
}
