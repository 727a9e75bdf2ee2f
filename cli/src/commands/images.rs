//! The images to work on.

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use florence2::{ImageLimits, decode_image, load_image};
use image::RgbImage;

use crate::error::{Error, Result};

/// What to look at.
#[derive(Debug, Args)]
#[command(next_help_heading = "Images")]
pub struct ImageArgs {
    /// Images: PNG, JPEG, WebP, GIF, BMP, TIFF, ...; - reads one from stdin
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<OsString>,
    /// Refuse images with more pixels than this
    #[arg(long, value_name = "N", default_value_t = ImageLimits::default().max_pixels)]
    max_pixels: u64,
}

/// An image, not read yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// `-`.
    Stdin,
    /// A file.
    File(PathBuf),
}

impl Input {
    /// The file's name without its extension.
    pub fn stem(&self) -> String {
        match self {
            Input::Stdin => "stdin".into(),
            Input::File(path) => path
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
        }
    }
}

/// The path as it was given.
impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Input::Stdin => f.write_str("-"),
            Input::File(path) => path.display().fmt(f),
        }
    }
}

impl ImageArgs {
    /// The images in the order given.
    pub fn inputs(&self) -> Result<Vec<Input>> {
        let inputs: Vec<Input> = self
            .images
            .iter()
            .map(|name| {
                if name == "-" {
                    Input::Stdin
                } else {
                    Input::File(name.into())
                }
            })
            .collect();
        if inputs.iter().filter(|input| **input == Input::Stdin).count() > 1 {
            return Err(Error::Usage("stdin holds one image: give - only once".into()));
        }
        Ok(inputs)
    }

    /// Reads an image, upright and in RGB.
    pub fn read(&self, input: &Input) -> Result<RgbImage> {
        let limits = ImageLimits::default().with_max_pixels(self.max_pixels);
        match input {
            Input::File(path) if path.is_dir() => Err(Error::Io {
                path: path.clone(),
                source: io::Error::new(
                    io::ErrorKind::IsADirectory,
                    format!(
                        "is a folder; name the images in it ({})",
                        path.join("*.jpg").display()
                    ),
                ),
            }),
            Input::File(path) => Ok(load_image(path, &limits)?),
            Input::Stdin => {
                let mut bytes = Vec::new();
                let mut stdin = io::stdin().lock().take(limits.max_file_bytes.saturating_add(1));
                stdin.read_to_end(&mut bytes).map_err(|source| Error::Stream {
                    stream: "standard input",
                    source,
                })?;
                Ok(decode_image("-", &bytes, &limits)?)
            }
        }
    }
}

/// Refuses to write where an image is read.
pub fn refuse_overwriting(path: &Path, inputs: &[Input]) -> Result<()> {
    let Ok(target) = fs::canonicalize(path) else {
        return Ok(());
    };
    let is_target = |input: &&Input| match input {
        Input::File(path) => fs::canonicalize(path).is_ok_and(|path| path == target),
        Input::Stdin => false,
    };
    match inputs.iter().find(is_target) {
        Some(input) => Err(Error::Usage(format!(
            "{input} is an input; writing to it would destroy it"
        ))),
        None => Ok(()),
    }
}
