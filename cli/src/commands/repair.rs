//! `florence2 repair`: writes a repaired copy of a deployment, for other engines.

use std::path::PathBuf;

use clap::Args;
use florence2::{hub, repair_deployment};

use crate::args::{GlobalArgs, ModelArg};
use crate::console::Console;
use crate::engine;
use crate::error::{Error, Outcome, Result};
use crate::output::{Destination, Target};

/// Write a copy of a deployment with its wrong graphs repaired, for other engines
///
/// Some published vision encoders were frozen at another image size than the model's: their answers differ from the
/// checkpoint's. This program repairs them on load; other engines (transformers.js, ...) need the copy. All dtypes in the
/// folder are repaired.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  florence2 repair -m onnx-community/Florence-2-base-ft --dtype vision=fp16,q4 --out base-ft
  florence2 repair -m Florence-2-base-ft --out base-ft-repaired")]
pub struct RepairArgs {
    /// The model: a folder, or an id on a hub (`organisation/name`)
    #[arg(short, long, value_name = "MODEL")]
    model: ModelArg,
    /// The folder to write, created if it does not exist
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
}

pub fn repair(args: &RepairArgs, globals: &GlobalArgs, console: &Console) -> Result<Outcome> {
    let folder = match &args.model {
        ModelArg::Folder(folder) => folder.clone(),
        ModelArg::Hub(id) => hub::prepare(id, &engine::load_options(globals, console))?.folder,
        ModelArg::Demo => {
            return Err(Error::Usage(
                "the demo model needs no repair; name another".into(),
            ));
        }
    };
    let spinner = console.spinner(format!("repairing {}", folder.display()));
    let repaired = repair_deployment(&folder, &args.out)?;
    drop(spinner);
    if repaired.is_empty() {
        console.note(&format!("{} needs no repair; nothing was written", args.model));
        return Ok(Outcome::AllGood);
    }
    let mut out = Destination::open(&Target::Stdout)?;
    for (file, repair) in &repaired {
        out.write(&format!("{file}: {repair}\n"))?;
    }
    out.write(&format!("the repaired model is in {}\n", args.out.display()))?;
    out.commit()?;
    Ok(Outcome::AllGood)
}
