//! `florence2 completions`: writes a shell's completion script.

use clap::{Args, Command};
use clap_complete::Shell;

use crate::error::{Outcome, Result};
use crate::output::{Destination, Target};

/// Write a shell's completion script to stdout
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  florence2 completions bash > ~/.local/share/bash-completion/completions/florence2
  florence2 completions zsh > ~/.zfunc/_florence2
  florence2 completions fish > ~/.config/fish/completions/florence2.fish
  florence2 completions powershell >> $PROFILE")]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Writes the script for `program`, the definition of the command line.
pub fn completions(args: &CompletionsArgs, mut program: Command) -> Result<Outcome> {
    let mut script = Vec::new();
    let name = program.get_name().to_owned();
    clap_complete::generate(args.shell, &mut program, name, &mut script);
    let mut out = Destination::open(&Target::Stdout)?;
    out.write_bytes(&script)?;
    out.commit()?;
    Ok(Outcome::AllGood)
}
