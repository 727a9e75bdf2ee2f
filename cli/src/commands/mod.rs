//! The commands, one file each.

pub mod demo;
pub mod export;
pub mod inspect;
pub mod parse;
pub mod run;
pub mod tasks;

use crate::args::{Command, GlobalArgs};
use crate::console::Console;
use crate::error::{Outcome, Result};

/// Runs the command that was given.
pub fn dispatch(command: Command, globals: &GlobalArgs, console: &Console) -> Result<Outcome> {
    match command {
        Command::Run(args) => run::run(&args, globals, console),
        Command::Parse(args) => parse::parse(&args),
        Command::Tasks(args) => tasks::tasks(&args),
        Command::Inspect(args) => inspect::inspect(&args, globals, console),
        Command::Export(args) => export::export(&args, globals, console),
        Command::Demo(args) => demo::demo(&args, globals, console),
    }
}
