//! Invalid images among valid ones.

use std::fs;
use std::path::Path;

use florence2_layout::onnx::{AttributeProto, ModelProto, NodeProto};
use prost::Message;

use crate::program::{copy, exported, florence2, scene};

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

/// Changes a vision encoder so that its features are NaN for images whose mean pixel value is above 1.5, as those of float16
/// graphs can be for certain images.
fn overflow_for_bright_images(graph: &Path) {
    let node = |op_type: &str, input: &[&str], output: &str, attribute: Vec<AttributeProto>| NodeProto {
        op_type: op_type.into(),
        input: input.iter().map(|&name| name.into()).collect(),
        output: vec![output.into()],
        attribute,
        ..NodeProto::default()
    };
    // The types of attributes: FLOAT is 1, INT is 2.
    let number = |value: f32| {
        vec![AttributeProto {
            name: "value_float".into(),
            f: Some(value),
            r#type: 1,
            ..AttributeProto::default()
        }]
    };
    let keepdims = AttributeProto {
        name: "keepdims".into(),
        i: Some(0),
        r#type: 2,
        ..AttributeProto::default()
    };
    let mut model = ModelProto::decode(&*fs::read(graph).unwrap()).unwrap();
    let nodes = model.graph.as_mut().unwrap();
    let result = nodes.output[0].name.clone();
    let outputs = nodes.node.iter_mut().flat_map(|node| &mut node.output);
    for output in outputs.filter(|output| **output == result) {
        *output = "finite_features".into();
    }
    nodes.node.extend([
        node("Constant", &[], "brightest", number(1.5)),
        node("Constant", &[], "zero", number(0.0)),
        node("ReduceMean", &["pixel_values"], "mean", vec![keepdims]),
        node("Sub", &["brightest", "mean"], "below", vec![]),
        node("Log", &["below"], "log", vec![]),
        node("Mul", &["log", "zero"], "zero_or_nan", vec![]),
        node("Add", &["finite_features", "zero_or_nan"], &result, vec![]),
    ]);
    fs::write(graph, model.encode_to_vec()).unwrap();
}

#[test]
fn an_image_that_overflows_is_that_image_s_failure() {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("model");
    copy(exported(), &model, "");
    overflow_for_bright_images(&model.join("onnx/vision_encoder.onnx"));
    let white = dir.path().join("white.png");
    image::RgbImage::from_pixel(64, 64, image::Rgb([255; 3]))
        .save(&white)
        .unwrap();
    let (model, white) = (model.to_str().unwrap(), white.to_str().unwrap());
    let (first, last) = (scene("hotel.jpg"), scene("ring.png"));
    let images = [&first, white, &last];
    let args = ["run", "-m", model, "-t", "caption", "--format", "jsonl"];
    let ran = florence2(&[&args[..], &images].concat()).exits(1);
    let lines = ran.jsonl();
    for (line, image) in lines.iter().zip(images) {
        assert_eq!(line["path"], image);
        assert_eq!(line["task"], "<CAPTION>");
        assert_eq!(line.get("error").is_some(), image == white, "{line}");
    }
    assert_eq!(lines.len(), 3);
    assert!(ran.stderr.contains(&format!("{white}: output")), "{}", ran.stderr);
}
