//! The report of a run: text, Markdown, CSV or JSON.

use serde::Serialize;

use super::comparison::Comparison;
use super::plan::Configuration;
use super::record::Run;
use super::tables;
use crate::error::Result;
use crate::output::{Table, TableFormat, heading, json_pretty, markdown_text, printable};

/// A run and its comparison, as JSON.
#[derive(Serialize)]
struct Document<'a> {
    #[serde(flatten)]
    run: &'a Run,
    #[serde(skip_serializing_if = "Option::is_none")]
    comparison: Option<&'a Comparison>,
}

/// Writes a run, and its comparison with a baseline.
pub fn render(run: &Run, comparison: Option<&Comparison>, format: TableFormat) -> Result<String> {
    match format {
        TableFormat::Json => json_pretty(&Document { run, comparison }),
        TableFormat::Csv => tables::csv(run, comparison).csv(),
        TableFormat::Table => Ok(document(run, comparison, false)),
        TableFormat::Markdown => Ok(document(run, comparison, true)),
    }
}

/// Writes configurations without measurements.
pub fn render_plan(plan: &[&Configuration], format: TableFormat) -> Result<String> {
    match format {
        TableFormat::Json => json_pretty(&plan),
        TableFormat::Csv => tables::plan(plan, true).csv(),
        TableFormat::Table => Ok(tables::plan(plan, false).text(0)),
        TableFormat::Markdown => Ok(tables::plan(plan, false).markdown()),
    }
}

/// Writes a run as text or Markdown.
fn document(run: &Run, comparison: Option<&Comparison>, markdown: bool) -> String {
    let title = |level: &str, title: &str, detail: &str| {
        if markdown {
            format!("{level} {} {}\n\n", markdown_text(title), markdown_text(detail))
        } else {
            heading(title, detail)
        }
    };
    let list = |items: Vec<String>| -> String {
        let items = items.iter().map(|item| {
            if markdown {
                format!("- {}\n", markdown_text(item))
            } else {
                format!("{}\n", printable(item))
            }
        });
        items.collect()
    };
    let table = |table: Table| {
        let table = table.without_empty_columns();
        if markdown { table.markdown() } else { table.text(0) }
    };
    let mut text = title("##", "florence2 bench", &run.environment.date);
    text += &list(facts(run));
    text += "\n";
    text += &table(tables::measurements(run));
    let failures = failures(run);
    if !failures.is_empty() {
        text += "\n";
        text += &title("###", "not measured", "");
        text += &list(failures);
    }
    if let Some(comparison) = comparison {
        text += "\n";
        let baseline = format!("compared with {}", comparison.baseline);
        text += &title("###", &baseline, &comparison.date);
        text += &table(tables::ratios(run, comparison));
        text += "\n";
        let note = "ratios of medians, this run to the baseline; in brackets their range by the quartiles";
        let warnings = comparison.warnings.iter();
        let warnings = warnings.map(|warning| format!("warning: {warning}"));
        text += &list([note.to_owned()].into_iter().chain(warnings).collect());
    }
    text
}

/// Returns the machine, the versions and the settings.
fn facts(run: &Run) -> Vec<String> {
    let (environment, settings) = (&run.environment, &run.settings);
    let image = &settings.image;
    let count = |count: Option<usize>, none: &str| count.map_or_else(|| none.to_owned(), |n| n.to_string());
    vec![
        environment.machine.describe(),
        format!(
            "florence2 {}, ONNX Runtime {} ({}); threads: {}",
            environment.florence2,
            environment.onnxruntime.as_deref().unwrap_or("of unknown version"),
            environment.onnxruntime_build,
            count(settings.threads, "one per physical core"),
        ),
        format!(
            "task {}, {} tokens; image {} ({}x{}); rounds: {} after {} to warm up, {} in turns",
            settings.task,
            settings.tokens,
            image.name,
            image.width,
            image.height,
            settings.repeat,
            settings.warmup,
            count(settings.at_once, "all"),
        ),
        "times in ms, medians; stages and end to end of a whole batch, per token of a decoding step".into(),
    ]
}

/// Returns each reason for a failure once, after the names of the configurations that it ended.
fn failures(run: &Run) -> Vec<String> {
    let mut failures: Vec<(&str, Vec<String>)> = Vec::new();
    for entry in &run.configurations {
        let Some(reason) = entry.failure() else { continue };
        let name = entry.configuration.to_string();
        match failures.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, names)) => names.push(name),
            None => failures.push((reason, vec![name])),
        }
    }
    let failures = failures.into_iter();
    failures
        .map(|(reason, names)| format!("{}: {reason}", names.join("; ")))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::record::Outcome;
    use super::super::record::tests::{configuration, entry, failed, run};
    use super::*;
    use crate::commands::bench::record::Placement;

    fn measured() -> Run {
        run(vec![
            entry(1, &[0.2]),
            failed(2, "no \"GPU\", sorry"),
            failed(4, "no \"GPU\", sorry"),
        ])
    }

    #[test]
    fn text_has_reasons_once_and_no_empty_columns() {
        let text = render(&measured(), None, TableFormat::Table).unwrap();
        assert!(text.contains("A, 2 cores, 4 threads; 16 GiB"), "{text}");
        assert!(text.contains("end to end"), "{text}");
        assert!(!text.contains("device MiB"), "{text}");
        assert_eq!(text.matches("sorry").count(), 1, "{text}");
        assert!(
            text.contains("; demo on cpu, dtype auto, beams 1, batch 4: no"),
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
    fn known_placements_have_a_column() {
        let mut run = measured();
        let json = render(&run, None, TableFormat::Json).unwrap();
        assert!(json.contains("\"placement\": null"), "{json}");
        let Outcome::Measured(measured) = &mut run.configurations[0].outcome else {
            panic!("a failure")
        };
        let graph = |nodes: &[(&str, usize)]| {
            nodes
                .iter()
                .map(|&(name, count)| (name.to_owned(), count))
                .collect()
        };
        measured.placement = Some(Placement::from([
            ("decoder_step".into(), graph(&[("cpu", 3), ("cuda", 40)])),
            ("vision_encoder".into(), graph(&[("cuda", 100)])),
        ]));
        let text = render(&run, None, TableFormat::Table).unwrap();
        assert!(
            text.contains("nodes on") && text.contains("cuda 140, cpu 3"),
            "{text}"
        );
    }

    #[test]
    fn csv_is_quoted_and_plain() {
        let run = run(vec![entry(1, &[0.2]), failed(2, "no \"GPU\", sorry")]);
        let csv = render(&run, None, TableFormat::Csv).unwrap();
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
    fn a_comparison_has_a_table_and_columns_in_csv() {
        let now = run(vec![entry(1, &[0.25]), failed(2, "no")]);
        let before = run(vec![entry(1, &[0.5]), entry(8, &[0.1])]);
        let comparison = Comparison::new(&now, Path::new("old.json"), &before);
        let csv = render(&now, Some(&comparison), TableFormat::Csv).unwrap();
        let mut lines = csv.lines().map(|line| line.split(',').collect::<Vec<_>>());
        let (keys, rows) = (lines.next().unwrap(), lines.collect::<Vec<_>>());
        let column = |key: &str| keys.iter().position(|other| *other == key).unwrap();
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0][column("end_to_end_ratio")], "0.5");
        assert_eq!(rows[0][column("load_ratio")], "1");
        assert_eq!(rows[1][column("end_to_end_ratio")], "");
        let text = render(&now, Some(&comparison), TableFormat::Table).unwrap();
        assert!(text.contains("compared with old.json"), "{text}");
        assert!(text.contains("warning: only the baseline measured"), "{text}");
        assert_eq!(text.matches("0.50").count(), 5, "{text}");
    }

    #[test]
    fn a_plan_is_written_in_every_format() {
        let plan = [configuration(1), configuration(8)];
        let plan: Vec<&Configuration> = plan.iter().collect();
        let written = |format| render_plan(&plan, format).unwrap();
        assert_eq!(
            written(TableFormat::Csv),
            "model,device,dtype,num_beams,batch\ndemo,cpu,auto,1,1\ndemo,cpu,auto,1,8\n"
        );
        assert_eq!(written(TableFormat::Table).lines().count(), 3);
        assert_eq!(written(TableFormat::Markdown).lines().count(), 4);
        let read: Vec<Configuration> = serde_json::from_str(&written(TableFormat::Json)).unwrap();
        assert_eq!(read.iter().collect::<Vec<_>>(), plan);
    }
}
