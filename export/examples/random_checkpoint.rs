//! `cargo run --release --example random_checkpoint -- base|large OUT [SEED]`: writes a checkpoint of real size with random weights.

use std::error::Error;
use std::process::ExitCode;

use florence2_export::{RandomOptions, RandomSize, random_checkpoint};

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
    let (size, out, seed) = match arguments[..] {
        [size, out] => (size, out, 0),
        [size, out, seed] => (size, out, seed.parse()?),
        _ => return Err("usage: random_checkpoint base|large OUT [SEED]".into()),
    };
    let size = match size {
        "base" => RandomSize::Base,
        "large" => RandomSize::Large,
        _ => return Err(format!("{size}: base or large").into()),
    };
    random_checkpoint(out, &RandomOptions::default().with_size(size).with_seed(seed))?;
    Ok(())
}
