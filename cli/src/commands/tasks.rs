//! `florence2 tasks`: lists the tasks.

use clap::Args;
use florence2::{TASKS, TaskInput, TaskSpec};
use serde::Serialize;

use crate::error::{Outcome, Result};
use crate::output::{Column, ReportFormat, Table};

/// List the tasks
///
/// With the name, the tag, the input, the kind of answer, and the prompt of the model.
#[derive(Debug, Args)]
pub struct TasksArgs {
    /// The format of the list
    #[arg(long, value_enum, default_value_t = ReportFormat::Text)]
    format: ReportFormat,
}

#[derive(Serialize)]
struct TaskRecord {
    name: &'static str,
    tag: &'static str,
    input: Option<&'static str>,
    output: &'static str,
    prompt: &'static str,
    summary: &'static str,
}

impl From<&TaskSpec> for TaskRecord {
    fn from(row: &TaskSpec) -> Self {
        Self {
            name: row.name,
            tag: row.tag,
            input: input_name(row.input),
            output: row.output.name(),
            prompt: row.prompt,
            summary: row.summary,
        }
    }
}

fn input_name(input: TaskInput) -> Option<&'static str> {
    match input {
        TaskInput::None => None,
        TaskInput::Text => Some("text"),
        TaskInput::Region => Some("region"),
    }
}

pub fn tasks(args: &TasksArgs) -> Result<Outcome> {
    let records: Vec<TaskRecord> = TASKS.iter().map(TaskRecord::from).collect();
    args.format.print(&records, table)?;
    Ok(Outcome::AllGood)
}

fn table() -> String {
    let columns = ["name", "tag", "takes", "answers", "prompt"].map(Column::Text);
    let mut table = Table::new(columns);
    for row in &TASKS {
        table.row([
            row.name,
            row.tag,
            input_name(row.input).unwrap_or("-"),
            row.output.name(),
            row.prompt,
        ]);
    }
    table.text(0)
}
