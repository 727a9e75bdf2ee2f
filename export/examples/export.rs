//! `cargo run --example export -- CHECKPOINT OUT [--image-size N]`: a checkpoint's folder to a deployment's.

use std::error::Error;
use std::process::ExitCode;

use florence2_export::{Checkpoint, ExportOptions, export};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (checkpoint, out, options) = match arguments[..] {
        [checkpoint, out] => (checkpoint, out, ExportOptions::default()),
        [checkpoint, out, "--image-size", side] => (
            checkpoint,
            out,
            ExportOptions::default().with_image_size(side.parse()?),
        ),
        _ => return Err("usage: export CHECKPOINT OUT [--image-size N]".into()),
    };
    let report = export(&Checkpoint::open(checkpoint)?, out, &options)?;
    for (file, bytes) in &report.files {
        println!("{bytes:>12} {}", file.display());
    }
    for tensor in &report.unused_tensors {
        eprintln!("unused: {tensor}");
    }
    Ok(())
}
