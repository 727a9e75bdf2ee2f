//! `florence2 tasks`: lists the tasks.

use clap::Args;
use florence2::{TASKS, TaskInput, TaskSpec};
use serde_json::json;

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

pub fn tasks(args: &TasksArgs) -> Result<Outcome> {
    let records: Vec<_> = TASKS
        .iter()
        .map(|task| {
            json!({
                "name": task.name,
                "tag": task.tag,
                "input": input(task),
                "output": task.output.name(),
                "prompt": task.prompt,
                "summary": task.summary,
            })
        })
        .collect();
    args.format.print(&records, || {
        let mut table = Table::new(["name", "tag", "takes", "answers", "prompt"].map(Column::Text));
        for task in &TASKS {
            let input = input(task).unwrap_or("-");
            table.row([task.name, task.tag, input, task.output.name(), task.prompt]);
        }
        table.text(0)
    })?;
    Ok(Outcome::AllGood)
}

fn input(task: &TaskSpec) -> Option<&'static str> {
    match task.input {
        TaskInput::None => None,
        TaskInput::Text => Some("text"),
        TaskInput::Region => Some("region"),
    }
}
