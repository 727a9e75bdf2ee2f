//! The command line: the commands and the options of every command.

use clap::{CommandFactory, Parser, Subcommand};

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
    Completions(commands::completions::CompletionsArgs),
    Man(commands::man::ManArgs),
}

impl Command {
    /// Runs the command.
    pub fn run(self, globals: &GlobalArgs, console: &Console) -> Result<Outcome> {
        match self {
            Self::Run(args) => commands::run::run(&args, globals, console),
            Self::Parse(args) => commands::parse::parse(&args, globals, console),
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
            Self::Completions(args) => commands::completions::completions(&args, Cli::command()),
            Self::Man(args) => commands::man::man(&args, Cli::command()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use clap::CommandFactory;

    use super::*;

    #[test]
    fn arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    /// Returns the command lines of the program in the `sh` blocks of a page; a line may continue after `\`, and may be a
    /// pipe. (Those in `console` blocks are run by the test program `docs`.)
    fn command_lines(page: &str) -> Vec<String> {
        let blocks = page.split("\n```").skip(1).step_by(2);
        let shell = blocks.filter_map(|block| block.strip_prefix("sh\n"));
        let text = shell.collect::<Vec<_>>().join("\n").replace("\\\n", " ");
        let commands = text.lines().flat_map(|line| line.split(" | "));
        let commands = commands.filter(|command| command.starts_with("florence2 "));
        commands.map(str::to_owned).collect()
    }

    #[test]
    fn command_lines_of_the_documentation_parse() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let folders =
            ["", "docs", "cli", "models/demo"].map(|folder| fs::read_dir(root.join(folder)).unwrap());
        let files = folders.into_iter().flatten().map(|entry| entry.unwrap().path());
        let pages = files.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
        let mut parsed = 0;
        for page in pages {
            for line in command_lines(&fs::read_to_string(&page).unwrap()) {
                let words = shlex::split(&line).unwrap();
                let arguments = words.iter().take_while(|word| !word.starts_with('>'));
                if let Err(error) = Cli::try_parse_from(arguments) {
                    panic!("{}: {line}\n{error}", page.display());
                }
                parsed += 1;
            }
        }
        assert!(parsed > 20, "{parsed} command lines");
    }
}
