//! `florence2 cache`: lists and removes cached models, exports, providers' files and ONNX Runtime libraries.

use std::path::Path;

use clap::{Args, Subcommand};
use florence2::hub;
use florence2::{CacheContent, CacheEntry, HubOptions, ModelId, cache_dir, cache_entries};

use crate::console::Console;
use crate::error::{Error, Outcome, Result};
use crate::output::{Column, Destination, ReportFormat, Table, Target, print};

/// List or remove cached models, exports, compiled graphs of devices, and ONNX Runtime libraries
///
/// Models are in the cache of the hub's own tools, which other programs use too; only Florence-2 models are listed and
/// removed. Exports of safetensors, files that execution providers make of graphs (TensorRT's engines, CoreML's compiled
/// models) and fetched ONNX Runtime libraries are in this program's own cache.
#[derive(Debug, Args)]
pub struct CacheArgs {
    #[command(subcommand)]
    command: CacheCommand,
}

#[derive(Debug, Subcommand)]
enum CacheCommand {
    /// List the cached entries with their sizes and folders
    List {
        /// The format of the list
        #[arg(long, value_enum, default_value_t = ReportFormat::Text)]
        format: ReportFormat,
    },
    /// Print the cache folders: the folder of models, then the folder of everything else
    Path,
    /// Remove models or other cached entries
    #[command(after_help = "\
Examples:
  florence2 cache clean onnx-community/Florence-2-base-ft
  florence2 cache clean --exports --providers
  florence2 cache clean --all --dry-run")]
    Clean(CleanArgs),
}

#[derive(Debug, Args)]
struct CleanArgs {
    /// Models to remove, with all their revisions, exports and providers' files of their graphs
    #[arg(value_name = "MODEL", required_unless_present_any = ["exports", "providers", "runtimes", "all"])]
    models: Vec<ModelId>,
    /// Remove all exports
    #[arg(long)]
    exports: bool,
    /// Remove all files that devices' providers made of graphs
    #[arg(long)]
    providers: bool,
    /// Remove all fetched ONNX Runtime libraries
    #[arg(long)]
    runtimes: bool,
    /// Remove all Florence-2 models and all other entries
    #[arg(long, conflicts_with = "models")]
    all: bool,
    /// Print what would be removed, and remove nothing
    #[arg(long)]
    dry_run: bool,
}

impl CleanArgs {
    /// Returns whether all entries of this kind are to be removed.
    fn includes_kind_of(&self, entry: &CacheEntry) -> bool {
        match entry.content {
            CacheContent::Export { .. } => self.exports,
            CacheContent::Provider { .. } => self.providers,
            CacheContent::Runtime { .. } => self.runtimes,
            _ => false,
        }
    }
}

pub fn cache(args: &CacheArgs, console: &Console) -> Result<Outcome> {
    let options = HubOptions::default();
    match &args.command {
        CacheCommand::List { format } => list(*format, &options),
        CacheCommand::Path => path(&options),
        CacheCommand::Clean(args) => clean(args, &options, console),
    }
}

/// Returns the entries of both caches, models first.
fn entries(options: &HubOptions) -> Result<Vec<CacheEntry>> {
    let mut entries = hub::cached_models(options)?;
    entries.extend(cache_dir().iter().flat_map(|folder| cache_entries(folder)));
    Ok(entries)
}

fn list(format: ReportFormat, options: &HubOptions) -> Result<Outcome> {
    let entries = entries(options)?;
    format.print(&entries, || table(&entries))?;
    Ok(Outcome::AllGood)
}

fn table(entries: &[CacheEntry]) -> String {
    let columns = [
        Column::Text("kind"),
        Column::Text("name"),
        Column::Number("size"),
        Column::Text("folder"),
    ];
    let mut table = Table::new(columns);
    for entry in entries {
        let (kind, name) = match &entry.content {
            CacheContent::Model { model, .. } => ("model", model.clone()),
            CacheContent::Export {
                model,
                target,
                precision,
            } => ("export", format!("{model} ({target}, {precision})")),
            CacheContent::Provider { device, graph } => {
                let graph = graph.as_deref().unwrap_or("-");
                ("provider", format!("{device}: {graph}"))
            }
            CacheContent::Runtime { version } => ("runtime", version.clone()),
            _ => continue,
        };
        table.row([
            kind.to_owned(),
            name,
            indicatif::HumanBytes(entry.bytes).to_string(),
            entry.folder.display().to_string(),
        ]);
    }
    table.text(0)
}

fn path(options: &HubOptions) -> Result<Outcome> {
    let folders = [Some(hub::cache_folder(options)?), cache_dir()];
    let lines = folders
        .iter()
        .flatten()
        .map(|folder| format!("{}\n", folder.display()));
    print(&lines.collect::<String>())?;
    Ok(Outcome::AllGood)
}

fn clean(args: &CleanArgs, options: &HubOptions, console: &Console) -> Result<Outcome> {
    let mut entries = entries(options)?;
    for id in &args.models {
        // An interrupted download is not recognised as Florence-2 yet, but can be removed by its name.
        let model = hub::cached_model(id, options)?;
        entries.extend(model.filter(|model| !entries.contains(model)));
    }
    let is_of = |entry: &CacheEntry, id: &ModelId| entry.repository() == Some(id.repository());
    if let Some(id) = args
        .models
        .iter()
        .find(|id| !entries.iter().any(|entry| is_of(entry, id)))
    {
        return Err(Error::Usage(format!(
            "{id} is not in the cache; see `florence2 cache list`"
        )));
    }
    let is_named = |entry: &&CacheEntry| args.models.iter().any(|id| is_of(entry, id));
    let named: Vec<&Path> = entries
        .iter()
        .filter(is_named)
        .map(|entry| entry.folder.as_path())
        .collect();
    let is_of_named_graph = |entry: &CacheEntry| match &entry.content {
        CacheContent::Provider {
            graph: Some(graph), ..
        } => named.iter().any(|folder| Path::new(graph).starts_with(folder)),
        _ => false,
    };
    let mut out = Destination::open(&Target::Stdout)?;
    let mut bytes = 0;
    for entry in &entries {
        if !(args.all || is_named(&entry) || args.includes_kind_of(entry) || is_of_named_graph(entry)) {
            continue;
        }
        if !args.dry_run {
            entry.remove()?;
        }
        bytes += entry.bytes;
        out.write(&format!("{}\n", entry.folder.display()))?;
    }
    out.commit()?;
    console.note(&format!(
        "{} {}",
        if args.dry_run { "would free" } else { "freed" },
        indicatif::HumanBytes(bytes)
    ));
    Ok(Outcome::AllGood)
}
