//! `--task`, `--text`, `--region` and `--prompt`: the tasks of each image.

use clap::Args;
use florence2::{BoundingBox, Region, TASKS, Task, TaskInput, TaskKind};

use crate::args::task_kind;
use crate::console::Console;
use crate::error::{Error, Result};

/// Arguments that choose the tasks and their inputs.
#[derive(Debug, Args)]
#[command(next_help_heading = "Tasks")]
pub struct RequestArgs {
    /// A task: od, caption, ocr-with-region, ... or its tag (see `florence2 tasks`); several: repeat it, or commas
    #[arg(short, long = "task", value_name = "TASK", value_parser = task_kind, value_delimiter = ',')]
    tasks: Vec<TaskKind>,
    /// The text of tasks that take one: a caption, a phrase
    #[arg(long, value_name = "TEXT")]
    text: Option<String>,
    /// The region of tasks that take one, in pixels of the image
    #[arg(long, value_name = "x1,y1,x2,y2", value_parser = region, allow_hyphen_values = true)]
    region: Option<BoundingBox>,
    /// A raw prompt, for the tasks of fine-tunes; may be repeated. A tag that the checkpoint's configuration defines
    /// (with the text behind it) is expanded to its prompt, and the answer is parsed by its type
    #[arg(long = "prompt", value_name = "RAW", allow_hyphen_values = true)]
    prompts: Vec<String>,
}

impl RequestArgs {
    /// Returns the tasks. Without any, those without an input and those whose input is given.
    pub fn tasks_or_all(&self, console: &Console) -> Result<Vec<Task>> {
        if !self.tasks.is_empty() || !self.prompts.is_empty() {
            return self.tasks(console);
        }
        let askable = TASKS.iter().filter(|row| match row.input {
            TaskInput::None => true,
            TaskInput::Text => self.text.is_some(),
            TaskInput::Region => self.region.is_some(),
        });
        let all = Self {
            tasks: askable.map(|row| row.kind).collect(),
            text: self.text.clone(),
            region: self.region,
            prompts: Vec::new(),
        };
        all.tasks(console)
    }

    /// Returns the tasks with their inputs, then the prompts.
    pub fn tasks(&self, console: &Console) -> Result<Vec<Task>> {
        self.check_taken(TaskInput::Text, "--text", self.text.is_some())?;
        self.check_taken(TaskInput::Region, "--region", self.region.is_some())?;
        let tasks = self.tasks.iter().map(|&kind| {
            let spec = kind.spec();
            let text = self.text.as_deref().filter(|_| spec.input == TaskInput::Text);
            let region = self
                .region
                .map(Region::Pixels)
                .filter(|_| spec.input == TaskInput::Region);
            match spec.input {
                TaskInput::Text if text.is_none() => Err(Error::Usage(format!(
                    "task {} needs --text: {}",
                    spec.name, spec.summary
                ))),
                TaskInput::Region if region.is_none() => Err(Error::Usage(format!(
                    "task {} needs --region x1,y1,x2,y2: {}",
                    spec.name, spec.summary
                ))),
                _ => Ok(Task::new(kind, text, region)?),
            }
        });
        let prompts = self.prompts.iter().map(|prompt| {
            if let Some(row) = TASKS.iter().find(|row| row.tag == prompt.trim()) {
                console.warn(&format!(
                    "the model was not trained on the tag {} itself but on its sentence; you may want --task {}",
                    row.tag, row.name
                ));
            }
            Ok(Task::Prompt(prompt.clone()))
        });
        tasks.chain(prompts).collect()
    }

    /// Checks that a given input is for at least one of the tasks.
    fn check_taken(&self, input: TaskInput, option: &str, given: bool) -> Result<()> {
        let takes = |kind: &TaskKind| kind.spec().input == input;
        if !given || self.tasks.iter().any(takes) {
            return Ok(());
        }
        let takers: Vec<&str> = TASKS
            .iter()
            .filter(|row| row.input == input)
            .map(|row| row.name)
            .collect();
        let none = format!(
            "{option} is for {}; none of these tasks is given",
            takers.join(", ")
        );
        Err(Error::Usage(none))
    }
}

/// Parses a region, `x1,y1,x2,y2` in pixels.
fn region(text: &str) -> Result<BoundingBox, String> {
    let numbers: Vec<f32> = text
        .split(',')
        .map(|number| {
            number
                .trim()
                .parse()
                .map_err(|_| format!("{number:?} is not a number"))
        })
        .collect::<Result<_, String>>()?;
    let &[x1, y1, x2, y2] = numbers.as_slice() else {
        return Err("expected four numbers: x1,y1,x2,y2".into());
    };
    if !numbers.iter().all(|number| number.is_finite() && *number >= 0.0) {
        return Err("coordinates are in pixels from the upper left corner of the image".into());
    }
    if x1 >= x2 || y1 >= y2 {
        return Err("it is empty or reversed: x1 must be less than x2, and y1 less than y2".into());
    }
    Ok(BoundingBox::new(x1, y1, x2, y2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions() {
        assert_eq!(region("1, 2.5,30,40"), Ok(BoundingBox::new(1.0, 2.5, 30.0, 40.0)));
        for wrong in [
            "1,2,3",
            "1,2,3,4,5",
            "a,2,3,4",
            "3,2,1,4",
            "1,2,1,4",
            "-1,2,3,4",
            "NaN,2,3,4",
            "inf,2,3,4",
            "",
        ] {
            assert!(region(wrong).is_err(), "{wrong}");
        }
    }
}
