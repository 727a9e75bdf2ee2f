//! `florence2 cache`: what is kept, where, and getting rid of it.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use florence2::hub::{self, CachedModel, ExportedModel};
use florence2::runtime::{CacheContent, CacheEntry, cache_entries};
use florence2::{HubOptions, ModelId};
use serde::Serialize;

use crate::console::Console;
use crate::error::{Error, Outcome, Result};
use crate::output::{Column, Destination, ReportFormat, Table, Target, json_pretty};

/// Show or clean what is kept: models, exports, what devices' providers made of graphs, ONNX Runtime
///
/// Models are in the cache of the hub's own tools, which other programs use too; only Florence-2 models are shown and
/// removed. Exports of safetensors, what execution providers make of graphs (TensorRT's engines, CoreML's compiled models)
/// and fetched ONNX Runtimes are in this program's own cache.
#[derive(Debug, Args)]
pub struct CacheArgs {
    #[command(subcommand)]
    command: CacheCommand,
}

#[derive(Debug, Subcommand)]
enum CacheCommand {
    /// List what is kept, with its size and place
    List {
        /// How the list is written
        #[arg(long, value_enum, default_value_t = ReportFormat::Text)]
        format: ReportFormat,
    },
    /// Print the folders: of fetched models, and of all else
    Path,
    /// Remove models, or other things that are kept
    #[command(after_help = "\
Examples:
  florence2 cache clean onnx-community/Florence-2-base-ft
  florence2 cache clean --exports --providers
  florence2 cache clean --all --dry-run")]
    Clean(CleanArgs),
}

#[derive(Debug, Args)]
struct CleanArgs {
    /// Models to remove, with all their revisions, exports and what providers made of their graphs
    #[arg(value_name = "MODEL", required_unless_present_any = ["exports", "providers", "runtimes", "all"])]
    models: Vec<ModelId>,
    /// Remove all exports
    #[arg(long)]
    exports: bool,
    /// Remove all that devices' providers made of graphs
    #[arg(long)]
    providers: bool,
    /// Remove all fetched ONNX Runtimes
    #[arg(long)]
    runtimes: bool,
    /// Remove all Florence-2 models and all else that is kept
    #[arg(long, conflicts_with = "models")]
    all: bool,
    /// Say what would be removed, and keep it
    #[arg(long)]
    dry_run: bool,
}

/// Something that is kept.
enum Kept {
    Model(CachedModel),
    Export(ExportedModel),
    /// What is kept for ONNX Runtime.
    Runtime(CacheEntry),
}

#[derive(Serialize)]
struct KeptRecord {
    #[serde(flatten)]
    content: ContentRecord,
    bytes: u64,
    folder: PathBuf,
}

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum ContentRecord {
    /// A model in the hub's cache.
    Model { model: String },
    /// An export of one.
    Export {
        model: String,
        target: String,
        precision: String,
    },
    /// What a provider made: of a graph, or for all.
    Provider {
        device: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        graph: Option<String>,
    },
    /// ONNX Runtime.
    Runtime { version: String },
}

impl ContentRecord {
    /// What kind it is, and what is called so.
    fn columns(&self) -> [String; 2] {
        match self {
            Self::Model { model } => ["model".into(), model.clone()],
            Self::Export {
                model,
                target,
                precision,
            } => ["export".into(), format!("{model} ({target}, {precision})")],
            Self::Provider { device, graph } => [
                "provider".into(),
                format!("{device}: {}", graph.as_deref().unwrap_or("-")),
            ],
            Self::Runtime { version } => ["runtime".into(), version.clone()],
        }
    }
}

impl ContentRecord {
    /// `None` if it is nothing that is known here.
    fn of(kept: &Kept) -> Option<Self> {
        Some(match kept {
            Kept::Model(model) => ContentRecord::Model {
                model: model.id.repository().to_owned(),
            },
            Kept::Export(export) => ContentRecord::Export {
                model: export.model.clone(),
                target: export.target.clone(),
                precision: export.precision.clone(),
            },
            Kept::Runtime(entry) => match &entry.content {
                CacheContent::Library { version } => ContentRecord::Runtime {
                    version: version.clone(),
                },
                CacheContent::Graph { device, graph } => ContentRecord::Provider {
                    device: device.name(),
                    graph: graph.clone(),
                },
                CacheContent::Shared { device } => ContentRecord::Provider {
                    device: device.name(),
                    graph: None,
                },
                _ => return None,
            },
        })
    }
}

impl KeptRecord {
    fn of(kept: &Kept) -> Option<Self> {
        Some(Self {
            content: ContentRecord::of(kept)?,
            bytes: kept.bytes(),
            folder: kept.folder().to_owned(),
        })
    }
}

impl Kept {
    fn folder(&self) -> &Path {
        match self {
            Kept::Model(model) => &model.folder,
            Kept::Export(export) => &export.folder,
            Kept::Runtime(entry) => &entry.folder,
        }
    }

    fn bytes(&self) -> u64 {
        match self {
            Kept::Model(model) => model.bytes,
            Kept::Export(export) => export.bytes,
            Kept::Runtime(entry) => entry.bytes,
        }
    }

    /// Whether it is this model, or an export of it.
    fn is_of(&self, id: &ModelId) -> bool {
        match self {
            Kept::Model(model) => model.id.repository() == id.repository(),
            Kept::Export(export) => export
                .model
                .parse()
                .is_ok_and(|model: ModelId| model.repository() == id.repository()),
            Kept::Runtime(_) => false,
        }
    }

    /// Whether it was made of a graph in one of these folders.
    fn is_made_of(&self, folders: &[PathBuf]) -> bool {
        let Kept::Runtime(CacheEntry {
            content: CacheContent::Graph {
                graph: Some(graph), ..
            },
            ..
        }) = self
        else {
            return false;
        };
        folders.iter().any(|folder| Path::new(graph).starts_with(folder))
    }

    fn remove(&self, options: &HubOptions) -> Result<()> {
        match self {
            Kept::Model(model) => hub::remove_model(&model.id, options).map(|_| ())?,
            Kept::Export(export) => hub::remove_export(export)?,
            Kept::Runtime(entry) => entry.remove()?,
        }
        Ok(())
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

fn kept(options: &HubOptions) -> Result<Vec<Kept>> {
    let models = hub::cached_models(options)?.into_iter().map(Kept::Model);
    let exports = hub::exported_models(options)?.into_iter().map(Kept::Export);
    let others = cache_entries().into_iter().map(Kept::Runtime);
    Ok(models.chain(exports).chain(others).collect())
}

fn list(format: ReportFormat, options: &HubOptions) -> Result<Outcome> {
    let records: Vec<KeptRecord> = kept(options)?.iter().filter_map(KeptRecord::of).collect();
    let mut out = Destination::open(&Target::Stdout)?;
    match format {
        ReportFormat::Json => out.write(&json_pretty(&records)?)?,
        ReportFormat::Text => {
            let columns = [
                Column::Text("kind"),
                Column::Text("name"),
                Column::Number("size"),
                Column::Text("folder"),
            ];
            let mut table = Table::new(columns);
            for record in &records {
                let [kind, name] = record.content.columns();
                table.row([
                    kind,
                    name,
                    indicatif::HumanBytes(record.bytes).to_string(),
                    record.folder.display().to_string(),
                ]);
            }
            out.write(&table.text(0))?;
        }
    }
    out.commit()?;
    Ok(Outcome::AllGood)
}

fn path(options: &HubOptions) -> Result<Outcome> {
    let mut out = Destination::open(&Target::Stdout)?;
    out.write(&format!("{}\n", hub::cache_folder(options)?.display()))?;
    if let Some(own) = florence2::cache_dir() {
        out.write(&format!("{}\n", own.display()))?;
    }
    out.commit()?;
    Ok(Outcome::AllGood)
}

fn clean(args: &CleanArgs, options: &HubOptions, console: &Console) -> Result<Outcome> {
    let mut chosen = kept(options)?;
    // What is named goes even if it is unfinished, and cannot be known for a model yet.
    for id in &args.models {
        let is_listed = chosen
            .iter()
            .any(|kept| matches!(kept, Kept::Model(_)) && kept.is_of(id));
        if !is_listed {
            chosen.extend(hub::cached_model(id, options)?.map(Kept::Model));
        }
    }
    if let Some(absent) = args
        .models
        .iter()
        .find(|id| !chosen.iter().any(|kept| kept.is_of(id)))
    {
        return Err(Error::Usage(format!(
            "{absent} is not in the cache; see `florence2 cache list`"
        )));
    }
    let by_kind = |content: &ContentRecord| match content {
        ContentRecord::Model { .. } => false,
        ContentRecord::Export { .. } => args.exports,
        ContentRecord::Provider { .. } => args.providers,
        ContentRecord::Runtime { .. } => args.runtimes,
    };
    let is_named = |kept: &Kept| args.models.iter().any(|id| kept.is_of(id));
    let named = chosen.iter().filter(|kept| is_named(kept));
    let folders: Vec<PathBuf> = named.map(|kept| kept.folder().to_owned()).collect();
    let chosen = chosen.into_iter().filter_map(|kept| {
        let record = KeptRecord::of(&kept)?;
        let goes = args.all || is_named(&kept) || by_kind(&record.content) || kept.is_made_of(&folders);
        goes.then_some((kept, record))
    });
    let mut out = Destination::open(&Target::Stdout)?;
    let mut bytes = 0;
    for (kept, record) in chosen {
        if !args.dry_run {
            kept.remove(options)?;
        }
        bytes += record.bytes;
        out.write(&format!("{}\n", record.folder.display()))?;
    }
    out.commit()?;
    console.note(&format!(
        "{} {}",
        if args.dry_run { "would free" } else { "freed" },
        indicatif::HumanBytes(bytes)
    ));
    Ok(Outcome::AllGood)
}
