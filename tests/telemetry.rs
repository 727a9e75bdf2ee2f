//! ONNX Runtime's telemetry is disabled for programs that use the library, as far as that is sound. Each case is a process
//! of its own with one thread at first, in a home folder of its own.

#[path = "common/home.rs"]
mod home;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use florence2::runtime::{self, GraphSource, RuntimeOptions, SessionOptions};
use home::Home;

const CASE: &str = "FLORENCE2_TEST_CASE";
const VARIABLE: &str = "ORT_DISABLE_TELEMETRY";

fn main() -> ExitCode {
    if let Ok(case) = std::env::var(CASE) {
        in_home(&case);
        return ExitCode::SUCCESS;
    }
    // Test runners may list the tests' names; this program has no list.
    if std::env::args().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    let runtime = runtime::init_or_fetch(&RuntimeOptions::default(), &|_| {}).unwrap();
    let library = runtime.path.as_deref().unwrap();
    leaves_nothing(library);
    is_left_alone_beside_other_threads();
    is_left_as_the_user_set_it();
    ExitCode::SUCCESS
}

fn case(case: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env(CASE, case);
    command
}

fn assert_passes(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn leaves_nothing(library: &Path) {
    let home = Home::new();
    let mut command = case("run");
    home.move_in(&mut command, library);
    assert_passes(&mut command);
    assert_eq!(home.telemetry(), Vec::<PathBuf>::new());
}

/// The environment is not changed under a thread that may be reading it.
fn is_left_alone_beside_other_threads() {
    assert_passes(case("threads").env_remove(VARIABLE));
}

fn is_left_as_the_user_set_it() {
    assert_passes(case("set").env(VARIABLE, "0"));
}

fn in_home(case: &str) {
    match case {
        "run" => {
            runtime::init(&RuntimeOptions::default()).unwrap();
            let graph = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny.onnx");
            runtime::build_session(&GraphSource::File(graph.clone()), &SessionOptions::default()).unwrap();
        }
        "threads" => {
            std::thread::scope(|scope| {
                let (sender, receiver) = std::sync::mpsc::channel::<()>();
                scope.spawn(move || receiver.recv());
                // Windows' environment may be changed at any time.
                assert_eq!(runtime::disable_telemetry(), cfg!(windows));
                assert_eq!(std::env::var_os(VARIABLE).is_some(), cfg!(windows));
                drop(sender);
            });
        }
        "set" => {
            assert!(runtime::disable_telemetry());
            assert_eq!(std::env::var(VARIABLE).unwrap(), "0");
        }
        other => panic!("{other}"),
    }
}
