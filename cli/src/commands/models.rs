//! `florence2 models`: lists known and cached models.

use clap::Args;
use florence2::hub::{self, CatalogueEntry, ModelForm};
use florence2::{CacheContent, CacheEntry, HubOptions};
use indicatif::HumanBytes;
use serde_json::json;

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

pub fn models(args: &ModelsArgs) -> Result<Outcome> {
    let (known, cached) = (hub::catalogue(), hub::cached_models(&HubOptions::default())?);
    let mut table = Table::new([
        Column::Text("model"),
        Column::Text("form"),
        Column::Number("parameters"),
        Column::Number("cached"),
        Column::Text("as"),
        Column::Text("about"),
    ]);
    let mut records = Vec::new();
    for (id, known, cached) in with_cached(&known, &cached) {
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

type Row<'a> = (&'a str, Option<&'a CatalogueEntry>, Option<&'a CacheEntry>);

/// Returns the known models in their order, then the other cached ones, by their ids.
fn with_cached<'a>(known: &'a [CatalogueEntry], cached: &'a [CacheEntry]) -> impl Iterator<Item = Row<'a>> {
    let is = |entry: &CacheEntry, model: &CatalogueEntry| entry.repository() == Some(&model.id);
    let all_known = known.iter().map(move |model| {
        let entry = cached.iter().find(|entry| is(entry, model));
        (model.id.as_str(), Some(model), entry)
    });
    let others = cached
        .iter()
        .filter(move |entry| !known.iter().any(|model| is(entry, model)))
        .filter_map(|entry| Some((entry.repository()?, None, Some(entry))));
    all_known.chain(others)
}
