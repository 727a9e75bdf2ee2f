//! The work that is measured: a task about a picture, answered with a fixed number of tokens.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use clap::builder::RangedU64ValueParser;
use florence2::generation::GenerationOptions;
use florence2::{ImageLimits, Task, TaskKind, load_image};
use image::RgbImage;

use super::picture;
use crate::args::task_kind;
use crate::error::{Error, Result};

/// The least new tokens of an answer: its first and its last are often forced.
const FEWEST_TOKENS: u64 = 2;

/// What is asked of every configuration.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Work")]
pub struct Work {
    /// The picture [default: a drawn one]
    #[arg(long, value_name = "FILE")]
    pub image: Option<PathBuf>,
    /// The task; one that takes no text or region
    #[arg(short, long, value_name = "TASK", default_value = "od", value_parser = task_kind)]
    pub task: TaskKind,
    /// New tokens of each answer: no fewer and no more
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = RangedU64ValueParser::<usize>::new().range(FEWEST_TOKENS..))]
    pub tokens: usize,
}

impl Work {
    /// The task.
    pub fn task(&self) -> Result<Task> {
        Task::new(self.task, None, None).map_err(|_| {
            Error::Usage(format!(
                "task {} takes a text or a region; choose one that needs none, as od or caption",
                self.task.spec().name
            ))
        })
    }

    /// The picture, upright and in RGB.
    pub fn picture(&self) -> Result<RgbImage> {
        match &self.image {
            Some(path) => Ok(load_image(path, &ImageLimits::default())?),
            None => Ok(picture::draw()),
        }
    }

    /// What the picture is called.
    pub fn picture_name(&self) -> String {
        match &self.image {
            Some(path) => path.display().to_string(),
            None => picture::NAME.to_owned(),
        }
    }

    /// A search of the wanted length.
    pub fn generation(&self, num_beams: usize) -> GenerationOptions {
        GenerationOptions::default()
            .with_num_beams(num_beams)
            .with_min_new_tokens(self.tokens)
            .with_max_new_tokens(self.tokens)
    }

    /// These options on a command line.
    pub fn to_args(&self) -> Vec<OsString> {
        let mut args: Vec<OsString> = vec![
            "--task".into(),
            self.task.spec().name.into(),
            "--tokens".into(),
            self.tokens.to_string().into(),
        ];
        if let Some(path) = &self.image {
            args.extend(["--image".into(), path.into()]);
        }
        args
    }
}
