//! A run as CSV.

use serde::Serialize;

use super::columns::{NAME_KEYS, names, numbers, placement};
use super::comparison::Comparison;
use super::figures::FIGURES;
use super::plan::Configuration;
use super::record::Run;
use crate::error::{Error, Result};
use crate::output::{Column, Table, csv_text};

/// A row for each configuration, without figures.
pub fn plan_csv(plan: &[Configuration]) -> Result<String> {
    let mut table = Table::new(NAME_KEYS.map(Column::Text));
    plan.iter()
        .for_each(|configuration| table.row(names(configuration)));
    table.csv()
}

/// A row for each configuration, with plain numbers; with a comparison, also what changed.
pub fn run_csv(run: &Run, comparison: Option<&Comparison>) -> Result<String> {
    let measured = numbers();
    let mut keys: Vec<String> = NAME_KEYS.map(str::to_owned).to_vec();
    keys.extend(measured.iter().map(|column| column.key.clone()));
    keys.extend(["placement", "error"].map(str::to_owned));
    if comparison.is_some() {
        keys.push("measured".into());
        keys.extend(FIGURES.iter().map(|figure| format!("{}_change", figure.key)));
        keys.extend(FIGURES.iter().map(|figure| format!("{}_verdict", figure.key)));
    }
    let mut rows: Vec<Vec<String>> = Vec::new();
    for entry in &run.configurations {
        let mut row = names(&entry.configuration);
        row.extend(measured.iter().map(|column| {
            let number = column.number(entry, &run.settings);
            number.map_or_else(String::new, plain)
        }));
        let placed = entry
            .measurement()
            .and_then(|measured| measured.placement.as_ref());
        row.push(placed.map(placement).unwrap_or_default());
        row.push(entry.failure().unwrap_or_default().to_owned());
        rows.push(row);
    }
    if let Some(comparison) = comparison {
        // Those of the baseline alone come last.
        for compared in comparison.configurations.iter().skip(rows.len()) {
            let mut row = names(&compared.configuration);
            row.resize(NAME_KEYS.len() + measured.len() + 2, String::new());
            rows.push(row);
        }
        for (row, compared) in rows.iter_mut().zip(&comparison.configurations) {
            row.push(key_of(&compared.presence)?);
            let changes = FIGURES.iter().map(|figure| compared.change(figure));
            row.extend(changes.clone().map(|change| {
                let change = change.and_then(|change| change.change);
                change.map_or_else(String::new, plain)
            }));
            for change in changes {
                row.push(
                    change
                        .map(|change| key_of(&change.verdict))
                        .transpose()?
                        .unwrap_or_default(),
                );
            }
        }
    }
    csv_text(&keys, rows)
}

/// A number to four decimals at most: more would be noise.
fn plain(number: f64) -> String {
    ((number * 1e4).round() / 1e4).to_string()
}

/// What a unit variant is called in JSON.
fn key_of(variant: &impl Serialize) -> Result<String> {
    let value = serde_json::to_value(variant).map_err(|error| Error::stdout(error.into()))?;
    Ok(value.as_str().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::record::tests::{entry, failed, run};
    use super::*;

    #[test]
    fn csv_is_quoted_and_plain() {
        let run = run(vec![entry(1, &[0.2]), failed(2, "no \"GPU\", sorry")]);
        let csv = run_csv(&run, None).unwrap();
        assert_eq!(
            csv,
            "model,device,dtype,num_beams,batch,load_ms,first_run_ms,preprocess_ms,vision_encoder_ms,text_encoder_ms,\
             token_ms,end_to_end_ms,end_to_end_noise,end_to_end_p95_ms,answers_per_second,tokens_per_second,\
             host_memory_mib,device_memory_mib,placement,error\n\
             demo,cpu,auto,1,1,2000,1000,25,100,25,6.25,200,0,200,5,50,3,,,\n\
             demo,cpu,auto,1,2,,,,,,,,,,,,,,,\"no \"\"GPU\"\", sorry\"\n"
        );
    }

    #[test]
    fn csv_has_what_changed() {
        let now = run(vec![entry(1, &[0.2]), failed(2, "no")]);
        let before = run(vec![entry(1, &[0.2]), entry(8, &[0.1])]);
        let comparison = Comparison::new(&now, Path::new("old.json"), &before);
        let csv = run_csv(&now, Some(&comparison)).unwrap();
        let rows: Vec<Vec<String>> = csv::Reader::from_reader(csv.as_bytes())
            .records()
            .map(|row| row.unwrap().iter().map(str::to_owned).collect())
            .collect();
        let keys = csv.lines().next().unwrap();
        let column = |key: &str| keys.split(',').position(|other| other == key).unwrap();
        let presence: Vec<&str> = rows.iter().map(|row| row[column("measured")].as_str()).collect();
        assert_eq!(presence, ["both", "neither", "only_before"]);
        assert_eq!(rows[0][column("end_to_end_change")], "0");
        assert_eq!(rows[0][column("end_to_end_verdict")], "unknown");
        assert_eq!(rows[2][column("batch")], "8");
        assert_eq!(rows[2][column("end_to_end_ms")], "");
    }
}
