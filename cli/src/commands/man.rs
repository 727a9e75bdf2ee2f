//! `florence2 man`: writes the man pages.

use std::fs;
use std::path::PathBuf;

use clap::{Args, Command};
use clap_mangen::Man;

use crate::error::{Error, Outcome, Result};
use crate::output::{Destination, Target};

/// Write the man page to stdout, or those of all commands to a folder
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  florence2 man | man -l -
  florence2 man --out ~/.local/share/man/man1")]
pub struct ManArgs {
    /// The folder for florence2.1 and a page for each command
    #[arg(short, long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Writes the pages of `program`, the definition of the command line.
pub fn man(args: &ManArgs, program: Command) -> Result<Outcome> {
    if let Some(folder) = &args.out {
        fs::create_dir_all(folder).map_err(Error::io(folder))?;
        clap_mangen::generate_to(program, folder).map_err(Error::io(folder))?;
        return Ok(Outcome::AllGood);
    }
    let mut page = Vec::new();
    Man::new(program.disable_help_subcommand(true))
        .render(&mut page)
        .map_err(Error::stdout)?;
    let mut out = Destination::open(&Target::Stdout)?;
    out.write_bytes(&page)?;
    out.commit()?;
    Ok(Outcome::AllGood)
}
