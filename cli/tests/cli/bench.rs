//! `florence2 bench`. Nothing is asserted about how long anything takes.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::program::{Ran, florence2, scene};

/// Measures the demo model, quickly.
fn bench(args: &[&str]) -> Ran {
    florence2(&[&["bench", "-m", "demo", "--tokens", "3", "--warmup", "0"], args].concat())
}

/// Returns a run's configurations.
fn configurations(run: &Value) -> &Vec<Value> {
    run["configurations"].as_array().unwrap()
}

/// The ratio of a figure of the only compared configuration, and its range.
fn ratio(run: &Value, figure: &str) -> [f64; 3] {
    let compared = run["comparison"]["configurations"].as_array().unwrap();
    assert_eq!(compared.len(), 1);
    let mut changes = compared[0]["changes"].as_array().unwrap().iter();
    let change = changes.find(|change| change["figure"] == figure).unwrap();
    [&change["ratio"], &change["range"][0], &change["range"][1]].map(|value| value.as_f64().unwrap())
}

#[test]
fn the_demo_model_is_measured() {
    let folder = tempfile::tempdir().unwrap();
    let saved = folder.path().join("saved.json");
    let saved = saved.to_str().unwrap();
    let args = ["--num-beams", "1,2", "--batch", "2", "--repeat", "2"];
    let run = bench(&[&args[..], &["--format", "json", "--save", saved]].concat())
        .exits(0)
        .json();
    assert_eq!(run["schema"], "florence2-bench/1");
    assert_eq!(run["settings"]["tokens"], 3);
    assert!(run["environment"]["machine"]["logical_cores"].as_u64().unwrap() > 0);
    assert_eq!(run["environment"]["florence2"], env!("CARGO_PKG_VERSION"));

    let beams: Vec<&Value> = configurations(&run)
        .iter()
        .map(|entry| &entry["num_beams"])
        .collect();
    assert_eq!(beams, [1, 2]);
    for entry in configurations(&run) {
        assert_eq!(
            (&entry["device"], &entry["dtype"], &entry["batch"]),
            (&json!("cpu"), &json!("auto"), &json!(2))
        );
        let measured = &entry["measured"];
        let seconds = |value: &Value| value.as_f64().unwrap();
        assert!(seconds(&measured["load"]) > 0.0 && seconds(&measured["first_run"]) > 0.0);
        let samples = measured["samples"].as_array().unwrap();
        assert_eq!(samples.len(), 2);
        for sample in samples {
            let stages = [
                "preprocess",
                "vision_encoder",
                "text_encoder",
                "generation",
                "postprocess",
            ];
            let sum: f64 = stages.iter().map(|stage| seconds(&sample[stage])).sum();
            assert!(sum > 0.0 && sum <= seconds(&sample["end_to_end"]), "{sample}");
            let token = seconds(&sample["token"]) * 3.0;
            assert!((token - seconds(&sample["generation"])).abs() < 1e-9, "{sample}");
        }
        let [one, other] = [0, 1].map(|index| seconds(&samples[index]["end_to_end"]));
        let median = seconds(&measured["figures"]["end_to_end"]["median"]);
        assert!((median - (one + other) / 2.0).abs() < 1e-9);
        if cfg!(target_os = "linux") {
            assert!(measured["host_memory"].as_u64().unwrap() > 20 << 20, "{measured}");
        }
        assert!(measured["graphs"]["vision_encoder"].is_string());
    }
    assert_eq!(
        serde_json::from_slice::<Value>(&fs::read(saved).unwrap()).unwrap(),
        run
    );

    let ran = bench(&[&args[..], &["--baseline", saved]].concat()).exits(0);
    let text = ran.text();
    assert!(
        text.contains("compared with") && text.contains("ratios of medians"),
        "{text}"
    );
    assert!(!ran.stderr.contains("another machine"), "{}", ran.stderr);
}

#[test]
fn a_run_is_compared_with_a_saved_one() {
    let folder = tempfile::tempdir().unwrap();
    let saved = folder.path().join("saved.json");
    let args = ["--num-beams", "1", "--repeat", "7", "--format", "json"];
    let hotel = scene("hotel.jpg");
    let mut run = bench(&[&args[..], &["--image", &hotel]].concat()).exits(0).json();
    // A baseline of another machine on which vision took 1 % of the time and all else a hundred times as long.
    for sample in run["configurations"][0]["measured"]["samples"]
        .as_array_mut()
        .unwrap()
    {
        for (stage, seconds) in sample.as_object_mut().unwrap() {
            let factor = if stage == "vision_encoder" { 0.01 } else { 100.0 };
            *seconds = json!(seconds.as_f64().unwrap() * factor);
        }
    }
    run["environment"]["machine"]["cpu"] = json!("abacus");
    let mut gone = run["configurations"][0].clone();
    gone["batch"] = json!(64);
    run["configurations"].as_array_mut().unwrap().push(gone);
    fs::write(&saved, run.to_string()).unwrap();

    let saved = saved.to_str().unwrap();
    let ran = bench(&[&args[..], &["--image", &hotel, "--baseline", saved]].concat()).exits(0);
    assert!(
        ran.stderr.contains("another machine") && ran.stderr.contains("abacus"),
        "{}",
        ran.stderr
    );
    let run = ran.json();
    for figure in ["end_to_end", "token"] {
        let [ratio, _, high] = ratio(&run, figure);
        assert!(ratio < 0.5 && high < 1.0, "{figure}: {ratio}, at most {high}");
    }
    let [vision, low, _] = ratio(&run, "vision_encoder");
    assert!(vision > 2.0 && low > 1.0, "{vision}, at least {low}");
    // A single value has no range.
    let [load, low, high] = ratio(&run, "load");
    assert!(load > 0.0 && load == low && load == high, "{load} {low} {high}");
    assert!(
        ran.stderr
            .contains("only the baseline measured demo on cpu, dtype auto, beams 1, batch 64"),
        "{}",
        ran.stderr
    );
}

#[test]
fn failures_are_listed_with_the_reason() {
    let args = [
        "--dtype",
        "q4",
        "--dtype",
        "fp32",
        "--num-beams",
        "1",
        "--repeat",
        "1",
        "-m",
        "no/such/folder/at-all",
    ];
    let ran = bench(&[&args[..], &["--offline", "--format", "json"]].concat()).exits(1);
    let run = ran.json();
    let found = configurations(&run);
    assert_eq!(found.len(), 4);
    assert!(
        found[0]["error"]
            .as_str()
            .unwrap()
            .contains("vision_encoder_q4.onnx")
    );
    assert_eq!(found[1]["measured"]["samples"].as_array().unwrap().len(), 1);
    for missing in &found[2..] {
        assert!(
            missing["error"]
                .as_str()
                .unwrap()
                .contains("no/such/folder/at-all")
        );
    }
    assert!(
        ran.stderr
            .contains("error: demo on cpu, dtype q4, beams 1, batch 1: "),
        "{}",
        ran.stderr
    );
}

#[test]
fn configurations_can_be_listed() {
    let listed = bench(&[
        "--list",
        "--format",
        "csv",
        "--dtype",
        "int8,vision=fp32",
        "--dtype",
        "q4",
        "--device",
        "cpu",
        "--device",
        "cpu",
    ]);
    assert_eq!(
        listed.exits(0).text(),
        "model,device,dtype,num_beams,batch\ndemo,cpu,\"int8,vision=fp32\",3,1\ndemo,cpu,q4,3,1\n"
    );
    // Global options may also stand before the command.
    let listed = florence2(&["--dtype", "q4", "--device", "cpu", "bench", "--list"]).exits(0);
    assert!(listed.text().contains("demo   cpu     q4"), "{}", listed.text());
    let help = florence2(&["--help"]).exits(0).text();
    assert!(help.contains("bench") && !help.contains("bench-worker"), "{help}");
}

#[test]
fn bad_arguments_are_rejected_before_anything_is_measured() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let no_json = file("other.json", "not json");
    let newer = file("newer.json", r#"{"schema":"florence2-bench/99"}"#);
    let missing = folder.path().join("missing/saved.json");
    for (args, reason) in [
        (&["--tokens", "1"][..], "tokens"),
        (&["--num-beams", ""], "num-beams"),
        (&["--num-beams", "1,0"], "num-beams"),
        (&["--batch", "0"], "batch"),
        (&["--repeat", "0"], "repeat"),
        (&["--device", "abacus"], "the devices are"),
        (&["--dtype", "int7"], "q4f16"),
        (&["--task", "region-to-ocr"], "takes a text or a region"),
        (&["--image", "no/such.png"], "no/such.png"),
        (&["--baseline", "no/such.json"], "no/such.json"),
        (&["--baseline", &no_json], "--save"),
        (&["--baseline", &newer], "florence2-bench/99"),
        (&["--save", missing.to_str().unwrap()], "missing"),
    ] {
        let ran = florence2(&[&["bench", "-m", "demo"], args].concat()).exits(2);
        assert!(ran.stderr.contains(reason), "{args:?}: {}", ran.stderr);
        assert_eq!(ran.text(), "", "{args:?}");
    }
}

/// Requires Python with torch and transformers.
#[test]
#[ignore = "run PYTHON=python3 cargo test -p florence2-cli --test cli -- --ignored gpu_script, with torch and transformers"]
fn gpu_script_runs_with_the_cpu_as_device() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let checkpoint = root.join("models/demo/checkpoint");
    let folder = tempfile::tempdir().unwrap();
    for action in ["pack", "run"] {
        let output = Command::new(root.join("benches/gpu.sh"))
            .arg(action)
            .arg(folder.path())
            .env("FLORENCE2", env!("CARGO_BIN_EXE_florence2"))
            .env("CHECKPOINT", &checkpoint)
            .env("TOKENIZER", &checkpoint)
            .envs([("DEVICE", "cpu"), ("SIDE", "192"), ("ATTENTION", "sdpa,eager")])
            .envs([("TOKENS", "5"), ("REPEAT", "2")])
            .output()
            .unwrap();
        let [stdout, stderr] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
        assert!(output.status.success(), "{action}: {stdout}\n{stderr}");
    }
    let report = fs::read_to_string(folder.path().join("RESULTS.md")).unwrap();
    let rows = |start: &str| report.lines().filter(|line| line.starts_with(start)).count();
    // Exports in fp16 and fp32, with 1 and 3 beams, in batches of 1 and 8.
    assert_eq!(rows("| florence2 fp16 cpu, "), 4, "{report}");
    assert_eq!(rows("| florence2 fp32 cpu, "), 4, "{report}");
    assert_eq!(rows("| transformers float32 "), 2, "{report}");
    assert_eq!(rows("| end to end "), 2, "{report}");
    assert_eq!(rows("## Parity of "), 3, "{report}");
}

/// Tests that read /proc.
#[cfg(target_os = "linux")]
mod processes {
    use std::fs;
    use std::path::Path;
    use std::process::{Child, Command, Stdio};
    use std::thread;
    use std::time::Duration;

    use super::configurations;
    use crate::program::{Ran, command};

    /// Waits for a worker of a benchmark; returns its process id.
    fn worker_of(bench: &mut Child) -> String {
        let children = format!("/proc/{0}/task/{0}/children", bench.id());
        loop {
            assert!(
                bench.try_wait().unwrap().is_none(),
                "the benchmark ended before it had a worker"
            );
            let found = fs::read_to_string(&children).unwrap();
            let mut workers = found.split_whitespace().filter(|id| {
                let line = fs::read_to_string(format!("/proc/{id}/cmdline")).unwrap_or_default();
                line.contains("bench-worker")
            });
            if let Some(worker) = workers.next() {
                return worker.to_owned();
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn started(args: &[&str]) -> Child {
        command(&[&["bench", "-m", "demo", "--tokens", "2"], args].concat())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn signal(signal: &str, process: &str) {
        let status = Command::new("kill").args([signal, process]).status();
        assert!(status.unwrap().success());
    }

    #[test]
    fn a_dead_worker_does_not_affect_the_others() {
        let args = ["--num-beams", "1,2", "--repeat", "1", "--format", "json"];
        let mut bench = started(&args);
        signal("-KILL", &worker_of(&mut bench));
        let run = Ran::from(bench.wait_with_output().unwrap()).exits(1).json();
        let found = configurations(&run);
        let reason = found[0]["error"].as_str().unwrap();
        assert!(reason.contains("was killed"), "{reason}");
        assert!(found[1]["measured"].is_object(), "{run}");
    }

    #[test]
    fn an_interrupt_ends_all_workers() {
        let mut bench = started(&["--repeat", "1000000"]);
        let worker = worker_of(&mut bench);
        signal("-INT", &bench.id().to_string());
        let ran = Ran::from(bench.wait_with_output().unwrap()).exits(130);
        assert_eq!(ran.text(), "");
        assert!(!Path::new(&format!("/proc/{worker}")).exists());
    }
}
