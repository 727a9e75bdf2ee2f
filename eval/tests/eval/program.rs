//! Running the program.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

/// How a run ended.
#[derive(Debug)]
pub struct Ran {
    pub stdout: String,
    pub stderr: String,
}

/// Runs the program with the demo model; it has to end with `code`.
#[track_caller]
pub fn evaluate(dataset: &Path, args: &[&str], code: i32) -> Ran {
    let output = Command::new(env!("CARGO_BIN_EXE_florence2-eval"))
        .arg(dataset)
        .args(["--model", "demo"])
        .args(args)
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let ran = Ran {
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    };
    assert_eq!(output.status.code(), Some(code), "{ran:?}");
    ran
}

impl Ran {
    /// Stdout as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap()
    }
}
