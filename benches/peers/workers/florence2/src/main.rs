//! This engine as a worker of `benches/peers`: reads a JSON object a line from stdin, does what it says, and answers with
//! a JSON object a line on stdout. `benches/peers/README.md` has the protocol. Only the library's public interface is
//! used.
#![warn(missing_docs)]

mod requests;
mod work;

use std::io::{self, BufRead, Write};
use std::process::ExitCode;

use serde_json::{Value, json};

use crate::requests::Request;
use crate::work::Worker;

fn main() -> ExitCode {
    // While there is one thread.
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
