//! Tests that need a process of their own: ONNX Runtime is started once a process, and a process's environment belongs to
//! all of its threads. Such a test is `#[ignore]`d, and another one runs it by [`own_process`].

use std::path::PathBuf;
use std::process::Command;

use super::runtime;

/// Variable: the ONNX Runtime library that the process uses.
const LIBRARY: &str = "FLORENCE2_TEST_LIBRARY";

/// In a process of its own: the ONNX Runtime library to use. It is not loaded yet.
pub fn library() -> PathBuf {
    std::env::var_os(LIBRARY).expect("run by another test").into()
}

/// Path of the ONNX Runtime library of this process.
pub fn loaded_library() -> PathBuf {
    let path = runtime().path.clone();
    path.expect("the tests load the library themselves")
}

/// Command that runs the ignored test `test` of `module` (a `module_path!()`) alone, on the main thread of a new process.
pub fn own_process(module: &str, test: &str) -> Command {
    let (_crate, module) = module.split_once("::").expect("a module of a test program");
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([
            "--exact",
            &format!("{module}::{test}"),
            "--ignored",
            "--nocapture",
        ])
        .args(["--test-threads", "1"]);
    command
}

/// Asserts that the one test of [`own_process`] passes.
pub fn assert_passes(command: &mut Command) {
    let output = command.output().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && stdout.contains("1 passed"),
        "{stdout}\n{stderr}"
    );
}

/// Runs `test` of `module` in a process that has [`library`], and `env` in its environment.
pub fn in_own_process(module: &str, test: &str, env: &[(&str, &str)]) {
    assert_passes(
        own_process(module, test)
            .env_remove("ORT_DYLIB_PATH")
            .env(LIBRARY, loaded_library())
            .envs(env.iter().copied()),
    );
}
