//! The grid of configurations, and the work that each of them does.

use std::fmt;
use std::path::PathBuf;

use clap::Args;
use clap::builder::RangedU64ValueParser;
use florence2::generation::GenerationOptions;
use florence2::{ImageLimits, Task, TaskKind, decode_image_with, load_image_with};
use florence2_demo::SCENES;
use image::RgbImage;
use serde::{Deserialize, Serialize};

use crate::args::{GlobalArgs, ModelArg, task_kind_or_prompt};
use crate::error::{Error, Result};

/// The fewest new tokens of an answer: its first and its last are often forced.
const MIN_TOKENS: u64 = 2;

/// The names of a configuration, as shown, saved and looked up in a saved run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configuration {
    /// The value of `--model`.
    pub model: String,
    /// The value of `--device`.
    pub device: String,
    /// The value of `--dtype`, or `auto`.
    pub dtype: String,
    /// Beams; 1 is greedy search.
    pub num_beams: usize,
    /// Images per batch.
    pub batch: usize,
}

/// A configuration to measure.
pub struct Planned {
    pub configuration: Configuration,
    pub model: ModelArg,
    /// The global options with the configuration's device and dtype.
    pub globals: GlobalArgs,
}

/// The work that all configurations do: a task on an image, answered with a fixed number of tokens.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Work")]
pub struct Work {
    /// The image [default: the embedded scene hotel.jpg]
    #[arg(long = "image", value_name = "FILE")]
    image_path: Option<PathBuf>,
    /// The task; one without a text or region as input
    #[arg(id = "task", short = 't', long = "task", value_name = "TASK", default_value = "od", value_parser = task_kind_or_prompt)]
    kind: TaskKind,
    /// A prompt in place of the task: a tag with its text or region, also a fine-tune's own
    #[arg(
        long,
        value_name = "PROMPT",
        conflicts_with = "task",
        allow_hyphen_values = true
    )]
    prompt: Option<String>,
    /// New tokens of each answer, exactly
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = RangedU64ValueParser::<usize>::new().range(MIN_TOKENS..))]
    pub tokens: usize,
}

impl Work {
    /// Returns the task.
    ///
    /// # Errors
    /// [`Error::Usage`] if the task needs an input.
    pub fn task(&self) -> Result<Task> {
        if let Some(prompt) = &self.prompt {
            return Ok(Task::from_prompt(prompt)?);
        }
        Task::new(self.kind, None, None).map_err(|_| {
            Error::Usage(format!(
                "task {} takes a text or a region: --prompt '{}...'",
                self.kind.spec().name,
                self.kind.spec().tag
            ))
        })
    }

    /// Returns the task's name, or the prompt.
    pub fn task_name(&self) -> &str {
        self.prompt.as_deref().unwrap_or(self.kind.spec().name)
    }

    /// Reads the image; returns its name and its pixels.
    pub fn image(&self) -> Result<(String, RgbImage)> {
        let limits = ImageLimits::default();
        match &self.image_path {
            Some(path) => Ok((path.display().to_string(), load_image_with(path, &limits)?)),
            None => {
                let [scene, ..] = &SCENES;
                Ok((
                    scene.name.to_owned(),
                    decode_image_with(scene.name, scene.bytes, &limits)?,
                ))
            }
        }
    }

    /// Returns the options of a search that ends after exactly `tokens` tokens.
    pub fn generation(&self, num_beams: usize) -> GenerationOptions {
        GenerationOptions::default()
            .with_num_beams(num_beams)
            .with_min_new_tokens(self.tokens)
            .with_max_new_tokens(self.tokens)
    }
}

impl Configuration {
    /// Returns the cells of the columns that name a configuration.
    pub fn names(&self) -> [String; 5] {
        [
            self.model.clone(),
            self.device.clone(),
            self.dtype.clone(),
            self.num_beams.to_string(),
            self.batch.to_string(),
        ]
    }
}

impl fmt::Display for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [model, device, dtype, beams, batch] = self.names();
        write!(
            f,
            "{model} on {device}, dtype {dtype}, beams {beams}, batch {batch}"
        )
    }
}
