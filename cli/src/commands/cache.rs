//! `florence2 cache`: what is kept, where, and getting rid of it.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use florence2::hub::{self, CachedModel, ExportedModel};
use florence2::{HubOptions, ModelId};
use serde::Serialize;

use crate::console::Console;
use crate::error::{Error, Outcome, Result};
use crate::output::{Column, Destination, ReportFormat, Table, Target, json_pretty};

/// Show or clean what is kept of fetched models
///
/// Models are in the cache of the hub's own tools, which other programs use too; only Florence-2 models are shown and
/// removed. Exports of safetensors are in this program's own cache.
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
    /// Print the folders: of fetched models, and of exports and ONNX Runtime
    Path,
    /// Remove models, or exports
    #[command(after_help = "\
Examples:
  florence2 cache clean onnx-community/Florence-2-base-ft
  florence2 cache clean --exports
  florence2 cache clean --all --dry-run")]
    Clean(CleanArgs),
}

#[derive(Debug, Args)]
struct CleanArgs {
    /// Models to remove, with all their revisions and exports
    #[arg(value_name = "MODEL", required_unless_present_any = ["exports", "all"])]
    models: Vec<ModelId>,
    /// Remove all exports
    #[arg(long)]
    exports: bool,
    /// Remove all Florence-2 models and exports
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
}

#[derive(Serialize)]
struct KeptRecord {
    kind: &'static str,
    model: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    precision: Option<String>,
    bytes: u64,
    folder: PathBuf,
}

impl From<&Kept> for KeptRecord {
    fn from(kept: &Kept) -> Self {
        match kept {
            Kept::Model(model) => Self {
                kind: "model",
                model: model.id.repository().to_owned(),
                target: None,
                precision: None,
                bytes: model.bytes,
                folder: model.folder.clone(),
            },
            Kept::Export(export) => Self {
                kind: "export",
                model: export.model.clone(),
                target: Some(export.target.clone()),
                precision: Some(export.precision.clone()),
                bytes: export.bytes,
                folder: export.folder.clone(),
            },
        }
    }
}

impl Kept {
    fn is_of(&self, id: &ModelId) -> bool {
        match self {
            Kept::Model(model) => model.id.repository() == id.repository(),
            Kept::Export(export) => export
                .model
                .parse()
                .is_ok_and(|model: ModelId| model.repository() == id.repository()),
        }
    }

    fn remove(&self, options: &HubOptions) -> Result<()> {
        match self {
            Kept::Model(model) => hub::remove_model(&model.id, options).map(|_| ())?,
            Kept::Export(export) => hub::remove_export(export)?,
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
    Ok(models.chain(exports).collect())
}

fn list(format: ReportFormat, options: &HubOptions) -> Result<Outcome> {
    let records: Vec<KeptRecord> = kept(options)?.iter().map(KeptRecord::from).collect();
    let mut out = Destination::open(&Target::Stdout)?;
    match format {
        ReportFormat::Json => out.write(&json_pretty(&records)?)?,
        ReportFormat::Text => {
            let columns = [
                Column::Text("kind"),
                Column::Text("model"),
                Column::Number("size"),
                Column::Text("folder"),
            ];
            let mut table = Table::new(&columns, 0);
            for record in &records {
                table.row([
                    record.kind.to_owned(),
                    record.model.clone(),
                    indicatif::HumanBytes(record.bytes).to_string(),
                    record.folder.display().to_string(),
                ]);
            }
            out.write(&table.render())?;
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
    if let Some(absent) = args
        .models
        .iter()
        .find(|id| !chosen.iter().any(|kept| kept.is_of(id)))
    {
        return Err(Error::Usage(format!(
            "{absent} is not in the cache; see `florence2 cache list`"
        )));
    }
    chosen.retain(|kept| {
        let named = args.models.iter().any(|id| kept.is_of(id));
        args.all || named || (args.exports && matches!(kept, Kept::Export(_)))
    });
    let mut out = Destination::open(&Target::Stdout)?;
    let mut bytes = 0;
    for kept in &chosen {
        if !args.dry_run {
            kept.remove(options)?;
        }
        let record = KeptRecord::from(kept);
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
