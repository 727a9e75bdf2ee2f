//! A run, for people and for programs.

use serde::Serialize;

use super::columns::{NAMES, names, numbers, placement};
use super::comparison::{Comparison, Presence};
use super::figures::{FIGURES, Unit};
use super::plan::Configuration;
use super::record::Run;
use super::spreadsheet::{plan_csv, run_csv};
use crate::error::Result;
use crate::output::{Column, Table, TableFormat, heading, json_pretty, markdown_text, printable};

/// What is written as JSON.
#[derive(Serialize)]
struct Document<'a> {
    #[serde(flatten)]
    run: &'a Run,
    #[serde(skip_serializing_if = "Option::is_none")]
    comparison: Option<&'a Comparison>,
}

/// A run, and how it compares with an earlier one.
pub fn render(run: &Run, comparison: Option<&Comparison>, format: TableFormat) -> Result<String> {
    match format {
        TableFormat::Json => json_pretty(&Document { run, comparison }),
        TableFormat::Csv => run_csv(run, comparison),
        TableFormat::Table => Ok(text(run, comparison)),
        TableFormat::Markdown => Ok(markdown(run, comparison)),
    }
}

/// Configurations without figures.
pub fn render_plan(plan: &[Configuration], format: TableFormat) -> Result<String> {
    let mut table = Table::new(NAMES);
    plan.iter()
        .for_each(|configuration| table.row(names(configuration)));
    match format {
        TableFormat::Json => json_pretty(&plan),
        TableFormat::Csv => plan_csv(plan),
        TableFormat::Table => Ok(table.text(0)),
        TableFormat::Markdown => Ok(table.markdown()),
    }
}

fn text(run: &Run, comparison: Option<&Comparison>) -> String {
    let facts = facts(run);
    let mut text = heading("florence2 bench", &run.environment.date);
    text.extend(facts.iter().map(|fact| format!("{}\n", printable(fact))));
    text.push('\n');
    text.push_str(&figures(run).text(0));
    for (index, (reason, configurations)) in failures(run).into_iter().enumerate() {
        if index == 0 {
            text.push('\n');
            text.push_str(&heading("not measured", ""));
        }
        text.extend(configurations.iter().map(|name| format!("{}\n", printable(name))));
        text.extend(printable(reason).lines().map(|line| format!("  {line}\n")));
    }
    if let Some(comparison) = comparison {
        text.push('\n');
        text.push_str(&heading(&title(comparison), ""));
        text.push_str(&changes(comparison).text(0));
        text.extend(
            notes(comparison)
                .iter()
                .map(|note| format!("{}\n", printable(note))),
        );
    }
    text
}

fn markdown(run: &Run, comparison: Option<&Comparison>) -> String {
    let list = |items: Vec<String>| -> String {
        items
            .iter()
            .map(|item| format!("- {}\n", markdown_text(item)))
            .collect()
    };
    let mut text = format!("## florence2 bench, {}\n\n", run.environment.date);
    text.push_str(&list(facts(run)));
    text.push('\n');
    text.push_str(&figures(run).markdown());
    let failures = failures(run);
    if !failures.is_empty() {
        text.push_str("\n### Not measured\n\n");
        let failures = failures.iter();
        let items =
            failures.map(|(reason, configurations)| format!("{}: {reason}", configurations.join("; ")));
        text.push_str(&list(items.collect()));
    }
    if let Some(comparison) = comparison {
        text.push_str(&format!("\n### {}\n\n", markdown_text(&title(comparison))));
        text.push_str(&changes(comparison).markdown());
        text.push('\n');
        text.push_str(&list(notes(comparison)));
    }
    text
}

/// Where and how it was measured.
fn facts(run: &Run) -> Vec<String> {
    let (environment, settings) = (&run.environment, &run.settings);
    let picture = &settings.picture;
    let turns = match settings.at_once {
        Some(count) => format!("{count} in turns"),
        None => "all in turns".into(),
    };
    let threads = match settings.threads {
        Some(count) => count.to_string(),
        None => "one per physical core".into(),
    };
    vec![
        environment.machine.describe(),
        format!(
            "florence2 {}, ONNX Runtime {} ({}); threads: {threads}",
            environment.florence2,
            environment.onnxruntime.as_deref().unwrap_or("of unknown version"),
            environment.onnxruntime_build,
        ),
        format!(
            "task {}, {} tokens; picture {} ({}x{}); rounds: {} after {} to warm up, {turns}",
            settings.task,
            settings.tokens,
            picture.name,
            picture.width,
            picture.height,
            settings.repeat,
            settings.warmup,
        ),
        "times in ms, medians; those of stages and the end are a batch's, per token a decoder step's".into(),
    ]
}

fn figures(run: &Run) -> Table {
    let measured: Vec<_> = numbers();
    let mut columns = NAMES.to_vec();
    columns.extend(measured.iter().map(|column| Column::Number(column.title)));
    columns.push(Column::Text("nodes on"));
    let mut table = Table::new(columns);
    for entry in &run.configurations {
        let mut row = names(&entry.configuration);
        row.extend(measured.iter().map(|column| column.text(entry, &run.settings)));
        let placed = entry
            .measurement()
            .and_then(|measured| measured.placement.as_ref());
        row.push(placed.map(placement).unwrap_or_default());
        table.row(
            row.into_iter()
                .map(|cell| if cell.is_empty() { "-".to_owned() } else { cell }),
        );
    }
    table.without_empty_columns()
}

/// Why configurations could not be measured, and which; each reason is said once.
fn failures(run: &Run) -> Vec<(&str, Vec<String>)> {
    let mut failures: Vec<(&str, Vec<String>)> = Vec::new();
    for entry in &run.configurations {
        let Some(reason) = entry.failure() else { continue };
        let name = entry.configuration.to_string();
        match failures.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, names)) => names.push(name),
            None => failures.push((reason, vec![name])),
        }
    }
    failures
}

fn title(comparison: &Comparison) -> String {
    format!("compared with {}, {}", comparison.baseline, comparison.date)
}

fn changes(comparison: &Comparison) -> Table {
    let mut columns = NAMES.to_vec();
    columns.extend(FIGURES.iter().map(|figure| Column::Number(figure.title)));
    columns.push(Column::Text("measured"));
    let mut table = Table::new(columns);
    for compared in &comparison.configurations {
        let mut row = names(&compared.configuration);
        row.extend(FIGURES.iter().map(|figure| {
            let change = compared.change(figure);
            change.map_or_else(String::new, |change| change.mark(words(figure.unit)))
        }));
        row.push(
            match compared.presence {
                Presence::Both => "",
                Presence::OnlyNow => "only now",
                Presence::OnlyBefore => "only before",
                Presence::Neither => "never",
            }
            .to_owned(),
        );
        table.row(
            row.into_iter()
                .map(|cell| if cell.is_empty() { "-".to_owned() } else { cell }),
        );
    }
    table.without_empty_columns()
}

/// What less and more of it are called.
const fn words(unit: Unit) -> [&'static str; 2] {
    match unit {
        Unit::Time => ["faster", "slower"],
        Unit::Memory => ["less", "more"],
    }
}

/// What the marks mean, and what stands in the way of the comparison.
fn notes(comparison: &Comparison) -> Vec<String> {
    let mut notes = vec!["~: no change beyond noise; ?: too few values to tell".to_owned()];
    let warnings = comparison.warnings.iter();
    notes.extend(warnings.map(|warning| format!("warning: {warning}")));
    notes
}

#[cfg(test)]
mod tests {
    use super::super::record::Outcome;
    use super::super::record::tests::{configuration, entry, failed, run};
    use super::*;

    fn measured() -> Run {
        run(vec![
            entry(1, &[0.2]),
            failed(2, "no \"GPU\", sorry"),
            failed(4, "no \"GPU\", sorry"),
        ])
    }

    #[test]
    fn people_get_reasons_once_and_no_empty_columns() {
        let text = render(&measured(), None, TableFormat::Table).unwrap();
        assert!(text.contains("A, 2 cores, 4 threads; 16 GiB"), "{text}");
        assert!(text.contains("end to end"), "{text}");
        assert!(!text.contains("device MiB"), "{text}");
        assert_eq!(text.matches("sorry").count(), 1, "{text}");
        assert!(
            text.contains("demo on cpu, dtype auto, beams 1, batch 4\n"),
            "{text}"
        );
        let markdown = render(&measured(), None, TableFormat::Markdown).unwrap();
        assert!(
            markdown.contains("| demo | cpu | auto | 1 | 1 | 2000 |"),
            "{markdown}"
        );
        assert!(markdown.contains("batch 4: no \"GPU\", sorry\n"), "{markdown}");
    }

    #[test]
    fn placements_have_a_column_where_they_are_known() {
        let mut run = measured();
        let json = render(&run, None, TableFormat::Json).unwrap();
        assert!(json.contains("\"placement\": null"), "{json}");
        for entry in &mut run.configurations {
            if let Outcome::Measured(measured) = &mut entry.outcome {
                let nodes = [("cpu".to_owned(), 7)].into();
                measured.placement = Some([("vision_encoder".to_owned(), nodes)].into());
            }
        }
        let text = render(&run, None, TableFormat::Table).unwrap();
        assert!(text.contains("nodes on") && text.contains("cpu 7"), "{text}");
    }

    #[test]
    fn a_plan_is_written_in_every_format() {
        let plan = [configuration(1), configuration(8)];
        let written = |format| render_plan(&plan, format).unwrap();
        assert_eq!(
            written(TableFormat::Csv),
            "model,device,dtype,num_beams,batch\ndemo,cpu,auto,1,1\ndemo,cpu,auto,1,8\n"
        );
        assert_eq!(written(TableFormat::Table).lines().count(), 3);
        assert_eq!(written(TableFormat::Markdown).lines().count(), 4);
        let read: Vec<Configuration> = serde_json::from_str(&written(TableFormat::Json)).unwrap();
        assert_eq!(read, plan);
    }
}
