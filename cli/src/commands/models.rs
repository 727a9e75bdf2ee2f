//! `florence2 models`: lists known and cached models.

use std::path::PathBuf;

use clap::Args;
use florence2::hub::{self, CatalogueEntry, ModelForm};
use florence2::{CacheContent, CacheEntry, HubOptions};
use serde::Serialize;

use crate::error::{Outcome, Result};
use crate::output::{Column, ReportFormat, Table};

/// List known models and cached ones
///
/// Any other model of the Florence-2 family can be named too.
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

#[derive(Serialize)]
struct ModelRecord {
    id: String,
    form: Option<ModelForm>,
    parameters: Option<u64>,
    about: Option<String>,
    cached: Option<CachedRecord>,
}

#[derive(Serialize)]
struct CachedRecord {
    folder: PathBuf,
    bytes: u64,
    dtypes: Vec<&'static str>,
    checkpoint: bool,
}

impl CachedRecord {
    /// Returns the record of a cached model, `None` for another entry.
    fn new(entry: &CacheEntry) -> Option<Self> {
        let CacheContent::Model {
            dtypes,
            has_checkpoint,
            ..
        } = &entry.content
        else {
            return None;
        };
        Some(Self {
            folder: entry.folder.clone(),
            bytes: entry.bytes,
            dtypes: dtypes.iter().map(|dtype| dtype.name()).collect(),
            checkpoint: *has_checkpoint,
        })
    }
}

pub fn models(args: &ModelsArgs) -> Result<Outcome> {
    let cached = hub::cached_models(&HubOptions::default())?;
    let mut records = records(hub::catalogue(), &cached);
    records.retain(|record| record.cached.is_some() || !args.cached);
    args.format.print(&records, || table(&records))?;
    Ok(Outcome::AllGood)
}

/// Returns the known models in their order, then the other cached ones.
fn records(known: Vec<CatalogueEntry>, cached: &[CacheEntry]) -> Vec<ModelRecord> {
    let is = |entry: &CacheEntry, id: &str| entry.repository() == Some(id);
    let others = cached
        .iter()
        .filter(|entry| !known.iter().any(|model| is(entry, &model.id)));
    let others = others.filter_map(|entry| {
        Some(ModelRecord {
            id: entry.repository()?.to_owned(),
            form: None,
            parameters: None,
            about: None,
            cached: CachedRecord::new(entry),
        })
    });
    let others: Vec<ModelRecord> = others.collect();
    let known = known.into_iter().map(|model| ModelRecord {
        cached: cached
            .iter()
            .find(|entry| is(entry, &model.id))
            .and_then(CachedRecord::new),
        id: model.id,
        form: Some(model.form),
        parameters: Some(model.parameters),
        about: Some(model.about),
    });
    known.chain(others).collect()
}

fn table(records: &[ModelRecord]) -> String {
    let columns = [
        Column::Text("model"),
        Column::Text("form"),
        Column::Number("parameters"),
        Column::Number("cached"),
        Column::Text("as"),
        Column::Text("about"),
    ];
    let mut table = Table::new(columns);
    for record in records {
        let cached = record.cached.as_ref();
        let mut forms: Vec<&str> = cached.map(|cached| cached.dtypes.clone()).unwrap_or_default();
        if cached.is_some_and(|cached| cached.checkpoint) {
            forms.push(ModelForm::Safetensors.name());
        }
        let parameters = record
            .parameters
            .map(|count| format!("{:.2} B", count as f64 / 1e9));
        table.row([
            record.id.clone(),
            record.form.map_or("-", ModelForm::name).to_owned(),
            parameters.unwrap_or_else(|| "-".into()),
            cached.map_or("-".into(), |cached| {
                indicatif::HumanBytes(cached.bytes).to_string()
            }),
            forms.join(" "),
            record.about.clone().unwrap_or_default(),
        ]);
    }
    table.text(0)
}
