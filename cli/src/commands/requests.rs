//! `--task`, `--text`, `--region` and `--prompt`: the tasks of each image.

use clap::Args;
use florence2::{BoundingBox, Region, TASKS, Task, TaskInput, TaskKind};

use crate::args::task_kind_or_prompt;
use crate::error::{Error, Result};

/// Arguments that choose the tasks and their inputs.
#[derive(Debug, Args)]
#[command(next_help_heading = "Tasks")]
pub struct RequestArgs {
    /// A task: od, caption, ocr-with-region, ... or its tag (see `florence2 tasks`); several: repeat it, or commas
    #[arg(short, long = "task", value_name = "TASK", value_parser = task_kind_or_prompt, value_delimiter = ',')]
    tasks: Vec<TaskKind>,
    /// The text of tasks that take one: a caption, a phrase; several: repeat it, to ask the tasks about each
    #[arg(long = "text", value_name = "TEXT")]
    texts: Vec<String>,
    /// The region of tasks that take one, in pixels of the image; several: repeat it, to ask the tasks about each
    #[arg(long = "region", value_name = "x1,y1,x2,y2", value_parser = region, allow_hyphen_values = true)]
    regions: Vec<BoundingBox>,
    /// A prompt as transformers takes it, a tag with its text or region; may be repeated. Other prompts and tags, as of
    /// fine-tunes, are passed to the model; a tag that the checkpoint's configuration defines is expanded to its prompt,
    /// and the answer is parsed by its type
    #[arg(long = "prompt", value_name = "PROMPT", allow_hyphen_values = true)]
    prompts: Vec<String>,
}

impl RequestArgs {
    /// Returns the tasks. Without any, those without an input and those whose input is given.
    pub fn tasks_or_all(&self) -> Result<Vec<Task>> {
        if !self.tasks.is_empty() || !self.prompts.is_empty() {
            return self.tasks();
        }
        let askable = TASKS.iter().filter(|row| match row.input {
            TaskInput::None => true,
            TaskInput::Text => !self.texts.is_empty(),
            TaskInput::Region => !self.regions.is_empty(),
        });
        let all = Self {
            tasks: askable.map(|row| row.kind).collect(),
            texts: self.texts.clone(),
            regions: self.regions.clone(),
            prompts: Vec::new(),
        };
        all.tasks()
    }

    /// Returns the tasks, each with each of its inputs, then the prompts.
    pub fn tasks(&self) -> Result<Vec<Task>> {
        self.check_taken(TaskInput::Text, "--text", !self.texts.is_empty())?;
        self.check_taken(TaskInput::Region, "--region", !self.regions.is_empty())?;
        let mut tasks = Vec::new();
        for &kind in &self.tasks {
            let spec = kind.spec();
            let missing = |option: &str| {
                let message = format!("task {} needs {option}: {}", spec.name, spec.summary);
                Err(Error::Usage(message))
            };
            match spec.input {
                TaskInput::None => tasks.push(Task::new(kind, None, None)?),
                TaskInput::Text if self.texts.is_empty() => return missing("--text"),
                TaskInput::Text => {
                    for text in &self.texts {
                        tasks.push(Task::new(kind, Some(text), None)?);
                    }
                }
                TaskInput::Region if self.regions.is_empty() => return missing("--region x1,y1,x2,y2"),
                TaskInput::Region => {
                    for &region in &self.regions {
                        tasks.push(Task::new(kind, None, Some(Region::Pixels(region)))?);
                    }
                }
            }
        }
        for prompt in &self.prompts {
            tasks.push(Task::from_prompt(prompt)?);
        }
        Ok(tasks)
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
    // The engine moves less than a pixel to the edge.
    if !numbers.iter().all(|number| number.is_finite() && *number > -1.0) {
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
        assert_eq!(
            region("-0.4,0,30,40"),
            Ok(BoundingBox::new(-0.4, 0.0, 30.0, 40.0))
        );
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
