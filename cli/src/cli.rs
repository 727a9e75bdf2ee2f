//! The command line: the commands and the options of every command.

use clap::{Parser, Subcommand};

use crate::args::GlobalArgs;
use crate::commands;
use crate::console::Console;
use crate::error::{Outcome, Result};

/// Florence-2 on the command line: captions, detection, OCR, grounding, segmentation.
#[derive(Debug, Parser)]
#[command(
    name = "florence2",
    version,
    arg_required_else_help = true,
    subcommand_required = true
)]
#[command(after_help = "\
Examples:
  florence2 demo                             every task, with the embedded model
  florence2 run -m onnx-community/Florence-2-base-ft -t od street.jpg
                                             the objects in an image
  florence2 run -m DIR -t od,caption --format jsonl *.jpg > answers.jsonl

Results go to stdout, everything else to stderr. Exit codes: 0 success; 1 some
inputs failed, the others succeeded; 2 usage, model or device error. NO_COLOR is
respected.")]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
    #[command(flatten)]
    pub globals: GlobalArgs,
}

/// A command with its arguments.
#[derive(Debug, Subcommand)]
pub enum Command {
    Run(Box<commands::run::RunArgs>),
    Parse(commands::parse::ParseArgs),
    Compare(Box<commands::compare::CompareArgs>),
    Eval(Box<commands::eval::EvalArgs>),
    Bench(Box<commands::bench::BenchArgs>),
    Tasks(commands::tasks::TasksArgs),
    Inspect(commands::inspect::InspectArgs),
    Devices(commands::devices::DevicesArgs),
    Export(commands::export::ExportArgs),
    Demo(commands::demo::DemoArgs),
    Pull(commands::pull::PullArgs),
    Repair(commands::repair::RepairArgs),
    Models(commands::models::ModelsArgs),
    Cache(commands::cache::CacheArgs),
}

impl Command {
    /// Runs the command.
    pub fn run(self, globals: &GlobalArgs, console: &Console) -> Result<Outcome> {
        match self {
            Self::Run(args) => commands::run::run(&args, globals, console),
            Self::Parse(args) => commands::parse::parse(&args),
            Self::Compare(args) => commands::compare::compare(&args, globals, console),
            Self::Bench(args) => commands::bench::bench(&args, globals, console),
            Self::Eval(args) => commands::eval::eval(&args, globals, console),
            Self::Tasks(args) => commands::tasks::tasks(&args),
            Self::Inspect(args) => commands::inspect::inspect(&args, globals, console),
            Self::Devices(args) => commands::devices::devices(&args, globals, console),
            Self::Export(args) => commands::export::export(&args, globals, console),
            Self::Demo(args) => commands::demo::demo(&args, globals, console),
            Self::Pull(args) => commands::pull::pull(&args, globals, console),
            Self::Repair(args) => commands::repair::repair(&args, globals, console),
            Self::Models(args) => commands::models::models(&args),
            Self::Cache(args) => commands::cache::cache(&args, console),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn arguments_are_consistent() {
        Cli::command().debug_assert();
    }
}
