//! Running the program.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

/// The outcome of a run.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

/// Returns a command of the program with arguments.
pub fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_florence2"));
    command.args(args).env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

/// Runs the program.
pub fn florence2(args: &[&str]) -> Ran {
    command(args).output().unwrap().into()
}

/// Runs the program with bytes on stdin.
pub fn with_stdin(args: &[&str], stdin: &[u8]) -> Ran {
    let mut child = command(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(stdin).unwrap();
    child.wait_with_output().unwrap().into()
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let ran = Self {
            code: output.status.code().expect("the program was killed by a signal"),
            stdout: output.stdout,
            stderr: String::from_utf8(output.stderr).unwrap(),
        };
        assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
        ran
    }
}

impl Ran {
    /// Checks the exit code.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(
            self.code,
            code,
            "stderr: {}\nstdout: {}",
            self.stderr,
            self.text()
        );
        self
    }

    /// Returns stdout as text.
    pub fn text(&self) -> String {
        String::from_utf8(self.stdout.clone()).unwrap()
    }

    /// Returns stdout as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.stdout).unwrap()
    }

    /// Returns stdout as JSON lines.
    pub fn jsonl(&self) -> Vec<Value> {
        self.text()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

/// Returns the path of a file of the repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(path)
}

/// Returns the path of a sample scene.
pub fn scene(file: &str) -> String {
    repository("models/demo/scenes")
        .join(file)
        .to_str()
        .unwrap()
        .to_owned()
}

/// Returns the folder of the exported demo model, one for all tests.
pub fn exported() -> &'static Path {
    static EXPORTED: OnceLock<PathBuf> = OnceLock::new();
    EXPORTED.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("exported");
        let _ = fs::remove_dir_all(&folder);
        let checkpoint = repository("models/demo/checkpoint");
        florence2(&[
            "export",
            checkpoint.to_str().unwrap(),
            "--out",
            folder.to_str().unwrap(),
        ])
        .exits(0);
        folder
    })
}

/// Returns a copy of a folder without the files named `without`.
pub fn copy(from: &Path, to: &Path, without: &str) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target, without);
        } else if entry.file_name() != without {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
