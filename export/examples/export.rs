//! `cargo run --example export -- CHECKPOINT OUT [--image-size N] [--target NAME] [--precision NAME] [--float16-io yes]`:
//! exports the checkpoint in a folder.

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
    const USAGE: &str =
        "usage: export CHECKPOINT OUT [--image-size N] [--target NAME] [--precision NAME] [--float16-io yes]";
    let mut arguments = std::env::args().skip(1);
    let (Some(checkpoint), Some(out)) = (arguments.next(), arguments.next()) else {
        return Err(USAGE.into());
    };
    let mut options = ExportOptions::default();
    while let Some(option) = arguments.next() {
        let value = arguments.next().ok_or(USAGE)?;
        options = match option.as_str() {
            "--image-size" => options.with_image_size(value.parse()?),
            "--target" => options.with_target(value.parse()?),
            "--float16-io" => options.with_float16_io(value == "yes"),
            "--precision" => options.with_dtype(value.parse()?),
            _ => return Err(USAGE.into()),
        };
    }
    let report = export(&Checkpoint::open(checkpoint)?, out, &options)?;
    for (file, bytes) in &report.files {
        println!("{bytes:>12} {}", file.display());
    }
    for tensor in &report.unused_tensors {
        eprintln!("unused: {tensor}");
    }
    Ok(())
}
