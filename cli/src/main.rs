//! Florence-2 on the command line.
//!
//! Results go to stdout, everything else to stderr. Exit codes: 0 success, 1 some inputs failed (the others
//! succeeded), 2 a usage, model or device error.
#![warn(missing_docs)]

mod args;
mod cli;
mod commands;
mod console;
mod engine;
mod error;
mod hub;
mod interrupt;
mod metrics;
mod output;
mod placement;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::Cli;
use crate::console::Console;
use crate::error::Outcome;

fn main() -> ExitCode {
    // Sets an environment variable, which requires that there is no other thread yet.
    florence2::runtime::disable_telemetry();
    let cli = Cli::parse();
    let console = Console::new(&cli.globals);
    console.show_logs(&cli.globals);
    match cli.command.run(&cli.globals, &console) {
        Ok(Outcome::AllGood) => ExitCode::SUCCESS,
        Ok(Outcome::SomeFailed) => ExitCode::from(1),
        // The reader of the output closed it, as `head` does.
        Err(error) if error.is_broken_pipe() => ExitCode::SUCCESS,
        Err(error) if error.is_cancelled() => ExitCode::from(interrupt::EXIT_CODE),
        Err(error) => {
            console.error(&error);
            ExitCode::from(2)
        }
    }
}
