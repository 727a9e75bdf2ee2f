//! Devices: `florence2 devices`, `--device` and the options of devices.

use serde_json::Value;

use crate::program::{Ran, exported, florence2, scene};

fn devices() -> Vec<Value> {
    let ran = florence2(&["devices", "--format", "json"]).exits(0);
    ran.json().as_array().unwrap().clone()
}

/// Returns a device that this machine cannot use; no machine has all.
fn unusable() -> Value {
    let mut devices = devices().into_iter();
    devices.find(|device| device["usable"] == false).unwrap()
}

fn run(options: &[&str]) -> Ran {
    let scene = scene("hotel.jpg");
    florence2(&[&["run", "-t", "caption", scene.as_str()], options].concat())
}

#[test]
fn devices_are_listed() {
    let devices = devices();
    let cpu = devices.iter().find(|device| device["device"] == "cpu").unwrap();
    assert_eq!(cpu["provider"], "CPUExecutionProvider");
    assert_eq!((&cpu["usable"], &cpu["in_library"]), (&true.into(), &true.into()));
    let unusable = unusable();
    assert!(
        unusable["problem"].is_string() && unusable["needs"].is_string(),
        "{unusable}"
    );

    let text = florence2(&["devices"]).exits(0).text();
    assert!(
        text.contains("can be used") && text.contains("tensorrt"),
        "{text}"
    );
    assert!(text.contains(unusable["needs"].as_str().unwrap()), "{text}");
}

#[test]
fn a_device_that_cannot_be_used_ends_the_command_with_the_reason() {
    let unusable = unusable();
    let name = unusable["device"].as_str().unwrap();
    let ran = run(&["--device", &format!("{name},cpu")]).exits(2);
    assert!(ran.stdout.is_empty());
    let expected = format!("device {name} cannot be used: ");
    assert!(ran.stderr.contains(&expected), "{}", ran.stderr);
    assert!(
        ran.stderr.contains(unusable["needs"].as_str().unwrap()),
        "{}",
        ran.stderr
    );
}

#[test]
fn contradictory_options_are_a_usage_error() {
    for (options, named) in [
        (&["--device", "abacus"][..], "tensorrt"),
        (&["--device", "image=cuda"], "vision"),
        (&["--device", "cpu,cuda"], "follows `cpu`"),
        (&["--ep-option", "trt_fp16_enable=1"], "DEVICE.OPTION=VALUE"),
        (&["--ep-option", "abacus.beads=10"], "tensorrt"),
    ] {
        let ran = run(options).exits(2);
        assert!(ran.stderr.contains(named), "{options:?}: {}", ran.stderr);
    }
    // An option for a device that --device does not list.
    let ran = run(&["--ep-option", "cuda.use_tf32=1"]).exits(2);
    assert!(
        ran.stderr.contains("cuda is not among the devices"),
        "{}",
        ran.stderr
    );
}

#[test]
fn the_placement_of_graphs_is_reported() {
    let ran = run(&["-v", "--device", "cpu", "--no-cpu-fallback"]).exits(0);
    assert!(
        ran.stderr.contains("vision_encoder: CPUExecutionProvider"),
        "{}",
        ran.stderr
    );
    let ran = run(&["--device", "cpu"]).exits(0);
    assert!(!ran.stderr.contains("ExecutionProvider"), "{}", ran.stderr);
    let ran = run(&["--device", "auto"]).exits(0);
    assert!(ran.stderr.contains("the best usable device: "), "{}", ran.stderr);
}

#[test]
fn inspect_reports_the_placement_of_graphs() {
    let folder = exported().to_str().unwrap();
    let report = florence2(&["inspect", "--model", folder, "--format", "json"])
        .exits(0)
        .json();
    let graphs = report["graphs"].as_array().unwrap();
    let placement = |name: &str| {
        let graph = graphs.iter().find(|graph| graph["graph"] == name).unwrap();
        graph.get("placement").cloned()
    };
    let vision = placement("vision_encoder").unwrap();
    assert_eq!(vision["providers"][0]["provider"], "CPUExecutionProvider");
    assert!(
        vision["providers"][0]["nodes"].as_u64().unwrap() > 100,
        "{vision}"
    );
    assert_eq!(vision["copies"], 0);
    // There is a better graph, so this one is not loaded.
    assert_eq!(placement("decoder_with_past_model"), None);
    let text = florence2(&["inspect", "--model", folder]).exits(0).text();
    assert!(text.contains("runs on: CPUExecutionProvider"), "{text}");
}
