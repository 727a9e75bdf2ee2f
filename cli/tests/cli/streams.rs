//! stdin, stdout and files.

use std::fs;
use std::process::Stdio;

use serde_json::Value;

use crate::program::{command, florence2, scene, with_stdin};

const RUN: [&str; 6] = ["run", "--model", "demo", "-t", "od", "--format"];

#[test]
fn an_image_can_come_from_stdin() {
    let file = scene("hotel.jpg");
    let from_stdin = with_stdin(&[&RUN[..], &["jsonl", "-"]].concat(), &fs::read(&file).unwrap())
        .exits(0)
        .jsonl();
    let from_file = florence2(&[&RUN[..], &["jsonl", &file]].concat())
        .exits(0)
        .jsonl();
    assert_eq!(from_stdin[0]["path"], "-");
    assert_eq!(from_stdin[0]["result"], from_file[0]["result"]);

    let ran = with_stdin(&[&RUN[..], &["jsonl", "-"]].concat(), b"").exits(1);
    assert!(ran.jsonl()[0].get("error").is_some());
}

#[test]
fn a_result_file_is_complete_or_unchanged() {
    let (dir, ring) = (tempfile::tempdir().unwrap(), scene("ring.png"));
    let path = dir.path().join("found.json");
    let to_file = |more: &[&str]| {
        let args = [&RUN[..], &["json", "-o", path.to_str().unwrap(), &ring], more].concat();
        florence2(&args)
    };
    assert_eq!(to_file(&[]).exits(0).text(), "");
    let written = fs::read(&path).unwrap();
    assert!(serde_json::from_slice::<Value>(&written).unwrap()[0]["result"]["<OD>"].is_object());

    to_file(&["--num-beams", "2", "--num-return-sequences", "5"]).exits(2);
    assert_eq!(fs::read(&path).unwrap(), written);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_closed_pipe_is_not_an_error() {
    let ring = scene("ring.png");
    let mut child = command(&[&RUN[..], &["jsonl", &ring, &ring]].concat())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Closed before the model is loaded.
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(!String::from_utf8(output.stderr).unwrap().contains("error"));
}

/// Sends a signal to a running program.
#[cfg(unix)]
fn signal(child: &std::process::Child, name: &str) {
    let mut kill = std::process::Command::new("kill");
    let status = kill.args([format!("-{name}"), child.id().to_string()]).status();
    assert!(status.unwrap().success());
}

#[cfg(unix)]
#[test]
fn a_stopped_run_keeps_its_results() {
    use std::thread::sleep;
    use std::time::Duration;

    let ring = scene("ring.png");
    let many = vec![ring.as_str(); 500];
    for name in ["INT", "TERM", "HUP"] {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("found.jsonl");
        let args = [&RUN[..], &["jsonl", "-o", file.to_str().unwrap()], &many].concat();
        let mut child = command(&args).stderr(Stdio::piped()).spawn().unwrap();
        // Results are in a temporary file until the end.
        let has_results = || {
            let mut entries = fs::read_dir(dir.path()).unwrap();
            entries.any(|entry| entry.unwrap().metadata().unwrap().len() > 0)
        };
        while !has_results() {
            sleep(Duration::from_millis(20));
            assert!(child.try_wait().unwrap().is_none());
        }
        signal(&child, name);
        assert_eq!(child.wait().unwrap().code(), Some(130), "{name}");
        let lines = fs::read_to_string(&file).unwrap();
        assert!((1..500).contains(&lines.lines().count()), "{name}");
        for line in lines.lines() {
            serde_json::from_str::<Value>(line).unwrap();
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "{name}");
    }
}

#[cfg(unix)]
#[test]
fn a_run_stopped_early_leaves_nothing() {
    use std::thread::sleep;
    use std::time::Duration;

    let ring = scene("ring.png");
    for name in ["INT", "TERM"] {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("found.jsonl");
        let args = [&RUN[..], &["jsonl", "-o", file.to_str().unwrap(), &ring]].concat();
        let mut child = command(&args).stderr(Stdio::piped()).spawn().unwrap();
        while fs::read_dir(dir.path()).unwrap().count() == 0 && child.try_wait().unwrap().is_none() {
            sleep(Duration::from_millis(1));
        }
        signal(&child, name);
        child.wait().unwrap();
        let left = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name());
        // The file is there if the run was faster than the signal.
        assert!(left.into_iter().all(|name| name == "found.jsonl"));
    }
}

#[cfg(unix)]
#[test]
fn a_run_under_nohup_survives_a_hangup() {
    use std::io::{BufRead, BufReader};
    use std::process::Command;

    let ring = scene("ring.png");
    let mut child = Command::new("nohup")
        .arg(env!("CARGO_BIN_EXE_florence2"))
        .args(&RUN[..])
        .args(["jsonl", &ring, &ring, &ring])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines.next().unwrap().unwrap();
    signal(&child, "HUP");
    assert_eq!(lines.count(), 2);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[cfg(unix)]
#[test]
fn interrupted_work_leaves_valid_json() {
    use std::io::{BufRead, BufReader};

    let ring = scene("ring.png");
    let many = vec![ring.as_str(); 500];
    let mut child = command(&[&RUN[..], &["json"], &many].concat())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // The opening bracket and the first record.
    let mut text: Vec<String> = lines.by_ref().take(2).map(Result::unwrap).collect();
    signal(&child, "INT");
    text.extend(lines.map(Result::unwrap));
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let records: Value = serde_json::from_str(&text.concat()).unwrap();
    assert!((1..500).contains(&records.as_array().unwrap().len()));
}
