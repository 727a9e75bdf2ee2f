//! `florence2 models`: lists known and cached models.

use clap::Args;
use florence2::hub::{self, ModelForm};
use florence2::{CacheContent, CacheEntry, HubOptions};
use indicatif::HumanBytes;
use serde_json::json;

use crate::error::{Outcome, Result};
use crate::output::{Column, ReportFormat, Table};

/// List known and cached models
///
/// All other models of the Florence-2 family can be used as well.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  florence2 models
  florence2 models --cached --format json")]
pub struct ModelsArgs {
    /// List cached models only
    #[arg(long)]
    cached: bool,
    /// The format of the list
    #[arg(long, value_enum, default_value_t = ReportFormat::Text)]
    format: ReportFormat,
}

pub fn models(args: &ModelsArgs) -> Result<Outcome> {
    let (known, cached) = (hub::catalogue(), hub::cached_models(&HubOptions::default())?);
    let mut table = Table::new([
        Column::Text("model"),
        Column::Text("form"),
        Column::Number("parameters"),
        Column::Number("cached"),
        Column::Text("cached as"),
        Column::Text("about"),
    ]);
    let mut records = Vec::new();
    // The known models in their order, then the other cached ones.
    let mut ids: Vec<&str> = known.iter().map(|model| model.id.as_str()).collect();
    let is_other = |id: &&str| known.iter().all(|model| model.id != *id);
    ids.extend(cached.iter().filter_map(CacheEntry::repository).filter(is_other));
    for id in ids {
        let known = known.iter().find(|model| model.id == id);
        let cached = cached.iter().find(|entry| entry.repository() == Some(id));
        if args.cached && cached.is_none() {
            continue;
        }
        let form = known.map(|model| model.form.name());
        let (mut dtypes, mut checkpoint) = (Vec::new(), false);
        if let Some(CacheContent::Model {
            dtypes: found,
            has_checkpoint,
            ..
        }) = cached.map(|entry| &entry.content)
        {
            dtypes.extend(found.iter().map(|dtype| dtype.name()));
            checkpoint = *has_checkpoint;
        }
        records.push(json!({
            "id": id,
            "form": form,
            "parameters": known.map(|model| model.parameters),
            "about": known.map(|model| &model.about),
            "cached": cached.map(|entry| json!({
                "folder": entry.folder,
                "bytes": entry.bytes,
                "dtypes": dtypes,
                "checkpoint": checkpoint,
            })),
        }));
        dtypes.extend(checkpoint.then_some(ModelForm::Safetensors.name()));
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".into());
        table.row([
            id.to_owned(),
            form.unwrap_or("-").to_owned(),
            or_dash(known.map(|model| format!("{:.2} B", model.parameters as f64 / 1e9))),
            or_dash(cached.map(|entry| HumanBytes(entry.bytes).to_string())),
            dtypes.join(" "),
            known.map_or(String::new(), |model| model.about.clone()),
        ]);
    }
    args.format.print(&records, || table.text(0))?;
    Ok(Outcome::AllGood)
}
