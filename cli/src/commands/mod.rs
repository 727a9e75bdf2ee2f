//! The commands, one file each.

pub mod bench;
pub mod cache;
pub mod compare;
pub mod demo;
pub mod devices;
pub mod eval;
pub mod export;
mod images;
pub mod inspect;
pub mod models;
pub mod parse;
pub mod pull;
pub mod repair;
mod requests;
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
        Command::Compare(args) => compare::compare(&args, globals, console),
        Command::Bench(args) => bench::bench(&args, globals, console),
        Command::Eval(args) => eval::eval(&args, globals, console),
        Command::Tasks(args) => tasks::tasks(&args),
        Command::Inspect(args) => inspect::inspect(&args, globals, console),
        Command::Devices(args) => devices::devices(&args, globals, console),
        Command::Export(args) => export::export(&args, globals, console),
        Command::Demo(args) => demo::demo(&args, globals, console),
        Command::Pull(args) => pull::pull(&args, globals, console),
        Command::Repair(args) => repair::repair(&args, globals, console),
        Command::Models(args) => models::models(&args),
        Command::Cache(args) => cache::cache(&args, console),
    }
}
