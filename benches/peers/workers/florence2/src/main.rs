//! This engine as a worker of `benches/peers`, through the library's public API.
//!
//! It reads a request per line from stdin and writes an answer per line to stdout, both JSON objects;
//! `benches/peers/README.md` describes them.
#![warn(missing_docs)]

mod requests;
mod work;

use std::io::{self, BufRead, Write};
use std::process::ExitCode;

use serde_json::{Value, json};

use crate::requests::Request;
use crate::work::Worker;

fn main() -> ExitCode {
    // Setting an environment variable requires that there is one thread.
    florence2::runtime::disable_telemetry();
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Answers requests until stdin ends.
fn serve() -> io::Result<()> {
    let mut worker = Worker::default();
    let mut stdout = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let answer =
            answer(&mut worker, &line?).unwrap_or_else(|error| json!({ "error": error.to_string() }));
        writeln!(stdout, "{answer}")?;
        stdout.flush()?;
    }
    Ok(())
}

fn answer(worker: &mut Worker, line: &str) -> Result<Value, Box<dyn std::error::Error>> {
    let request: Request = serde_json::from_str(line)?;
    worker.answer(request)
}
