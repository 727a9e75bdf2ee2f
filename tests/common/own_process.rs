//! Tests that need a process of their own, since a process starts ONNX Runtime once: such a test is `#[ignore]`d, and
//! another runs it.

use std::path::PathBuf;
use std::process::{Command, Output};

use super::runtime;

const LIBRARY: &str = "FLORENCE2_TEST_LIBRARY";

/// In a process of its own: the ONNX Runtime library to use. Nothing has loaded it yet.
pub fn library() -> PathBuf {
    std::env::var_os(LIBRARY).expect("run by another test").into()
}

/// Runs an ignored test of this file in a process of its own.
pub fn in_own_process(test: &str, env: &[(&str, &str)]) {
    let path = runtime()
        .path
        .as_ref()
        .expect("the tests load the library themselves");
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--ignored", "--nocapture"])
        .env_remove("ORT_DYLIB_PATH")
        .env(LIBRARY, path)
        .envs(env.iter().copied())
        .output()
        .unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(
        status.success() && stdout.contains("1 passed"),
        "{stdout}\n{stderr}"
    );
}
