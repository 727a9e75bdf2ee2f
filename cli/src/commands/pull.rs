//! `florence2 pull`: fetches models into the cache.

use std::path::PathBuf;

use clap::Args;
use florence2::{Bundle, BundleSource, ModelId, hub};
use serde::Serialize;

use crate::args::GlobalArgs;
use crate::console::Console;
use crate::engine;
use crate::error::{Outcome, Result, describe};
use crate::output::{Destination, ReportFormat, Target, json_pretty};

/// Fetch models from a hub into the cache
///
/// Only the files needed to load the model are fetched: one layout, one dtype (--dtype), and the configuration. Each
/// file is checked against the checksum that the hub lists; an interrupted transfer is resumed. A repository without
/// graphs is exported. The folders to load the models from are written to stdout.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  florence2 pull onnx-community/Florence-2-base-ft
  florence2 pull onnx-community/Florence-2-base-ft --dtype q4,vision=fp16
  florence2 pull microsoft/Florence-2-base@main --dtype int8

Models are in the cache of the hub's Python tools. Environment variables: HF_HOME,
HF_HUB_CACHE, HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE; FLORENCE2_CACHE for exports.")]
pub struct PullArgs {
    /// `organisation/name`, or `organisation/name@revision`; see `florence2 models`
    #[arg(value_name = "MODEL", required = true)]
    models: Vec<ModelId>,
    /// The format of the report
    #[arg(long, value_enum, default_value_t = ReportFormat::Text)]
    format: ReportFormat,
}

#[derive(Serialize)]
struct PulledRecord {
    model: String,
    commit: String,
    folder: PathBuf,
    files: Vec<String>,
    fetched_bytes: u64,
    exported: bool,
}

pub fn pull(args: &PullArgs, globals: &GlobalArgs, console: &Console) -> Result<Outcome> {
    if globals.device.is_auto() {
        // Resolving `auto` requires a running ONNX Runtime.
        engine::start(globals, console)?;
    }
    let mut out = Destination::open(&Target::Stdout)?;
    let mut records = Vec::new();
    let mut outcome = Outcome::AllGood;
    for id in &args.models {
        let prepared = match hub::prepare(id, &engine::load_options(globals, console)) {
            Ok(prepared) => prepared,
            Err(error) if args.models.len() > 1 => {
                console.input_failure(&id.to_string(), &describe(&error));
                outcome = Outcome::SomeFailed;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        console.note(&match prepared.fetched_bytes {
            0 => format!("{id} is in the cache"),
            bytes => format!("{id}: fetched {}", indicatif::HumanBytes(bytes)),
        });
        let source = BundleSource::Folder(prepared.folder.clone());
        let bundle = Bundle::open_with(
            source,
            globals.dtype.clone().unwrap_or_default(),
            globals.names.clone(),
        );
        // A file that cannot be read is reported when the model is loaded.
        if let Ok(Some(repair)) = bundle.and_then(|bundle| bundle.needed_repair()) {
            console.note(&format!(
                "{id}: {repair}; this program repairs it on load, `florence2 repair` writes a copy for other engines"
            ));
        }
        if args.format == ReportFormat::Text {
            out.write(&format!("{}\n", prepared.folder.display()))?;
        }
        records.push(PulledRecord {
            model: id.to_string(),
            commit: prepared.commit,
            folder: prepared.folder,
            files: prepared.files,
            fetched_bytes: prepared.fetched_bytes,
            exported: prepared.exported,
        });
    }
    if args.format == ReportFormat::Json {
        out.write(&json_pretty(&records)?)?;
    }
    out.commit()?;
    Ok(outcome)
}
