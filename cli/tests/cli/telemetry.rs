//! No command leaves anything of ONNX Runtime's telemetry behind.

#[path = "../../../tests/common/home.rs"]
mod home;

use std::path::PathBuf;

use florence2::runtime::{RuntimeOptions, init_or_fetch};

use self::home::Home;
use super::program::{Ran, command, repository, scene};

#[test]
fn commands_leave_nothing_of_onnx_runtimes_telemetry() {
    let runtime = init_or_fetch(&RuntimeOptions::default(), &|_| {}).unwrap();
    let library = runtime.path.as_deref().unwrap();
    let home = Home::new();
    let checkpoint = repository("models/demo/checkpoint");
    let checkpoint = checkpoint.to_str().unwrap();
    let image = scene("ring.png");
    let calibrated = [
        "export",
        checkpoint,
        "--target",
        "cpu",
        "--precision",
        "int8",
        "--calibrate",
        &image,
        "--out",
        "exported",
    ];
    for arguments in [
        &["run", "-m", "demo", "-t", "caption", &image][..],
        &["demo", "--out", "shown"],
        &["bench", "-m", "demo", "--repeat", "1"],
        &calibrated,
        &["devices"],
    ] {
        let mut command = command(arguments);
        home.move_in(&mut command, library);
        Ran::from(command.output().unwrap()).exits(0);
        assert_eq!(home.telemetry(), Vec::<PathBuf>::new(), "{arguments:?}");
    }
}
