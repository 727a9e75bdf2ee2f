//! `florence2 models`: which there are, and which are here.

use clap::Args;
use florence2::HubOptions;
use florence2::hub::{self, CachedModel, CatalogueEntry, ModelForm};
use serde::Serialize;

use crate::error::{Outcome, Result};
use crate::output::{Column, Destination, ReportFormat, Table, Target, json_pretty};

/// List models: known ones, and those in the cache
///
/// Any other model of the Florence-2 family can be named too; this list is only what is known to be there.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  florence2 models
  florence2 models --cached --format json")]
pub struct ModelsArgs {
    /// Only those in the cache
    #[arg(long)]
    cached: bool,
    /// How the list is written
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
    folder: String,
    bytes: u64,
    dtypes: Vec<&'static str>,
    checkpoint: bool,
}

impl From<&CachedModel> for CachedRecord {
    fn from(model: &CachedModel) -> Self {
        Self {
            folder: model.folder.display().to_string(),
            bytes: model.bytes,
            dtypes: model.dtypes.iter().map(|dtype| dtype.name()).collect(),
            checkpoint: model.has_checkpoint,
        }
    }
}

pub fn models(args: &ModelsArgs) -> Result<Outcome> {
    let cached = hub::cached_models(&HubOptions::default())?;
    let mut records = records(hub::catalogue(), &cached);
    records.retain(|record| record.cached.is_some() || !args.cached);
    let mut out = Destination::open(&Target::Stdout)?;
    match args.format {
        ReportFormat::Json => out.write(&json_pretty(&records)?)?,
        ReportFormat::Text => out.write(&table(&records))?,
    }
    out.commit()?;
    Ok(Outcome::AllGood)
}

/// The known models in their order, then what else is in the cache.
fn records(known: Vec<CatalogueEntry>, cached: &[CachedModel]) -> Vec<ModelRecord> {
    let of = |id: &str| cached.iter().find(|model| model.id.repository() == id);
    let others: Vec<&CachedModel> = cached
        .iter()
        .filter(|model| !known.iter().any(|entry| entry.id == model.id.repository()))
        .collect();
    let others = others.into_iter().map(|model| ModelRecord {
        id: model.id.repository().to_owned(),
        form: None,
        parameters: None,
        about: None,
        cached: Some(model.into()),
    });
    let known = known.into_iter().map(|entry| ModelRecord {
        cached: of(&entry.id).map(CachedRecord::from),
        id: entry.id,
        form: Some(entry.form),
        parameters: Some(entry.parameters),
        about: Some(entry.about),
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
