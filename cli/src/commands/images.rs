//! Arguments of input images, and reading them.

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use clap::Args;
use florence2::preprocess::is_url;
use florence2::{ImageLimits, UrlLimits, decode_image_with, load_image_url_with, load_image_with};
use image::RgbImage;

use crate::error::{Error, Result};

/// The input images.
#[derive(Debug, Args)]
#[command(next_help_heading = "Images")]
pub struct ImageArgs {
    /// Images: PNG, JPEG, WebP, GIF, BMP, TIFF, ...; http(s) addresses too; - reads one from stdin
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<OsString>,
    /// Reject images with more pixels than this
    #[arg(long, value_name = "N", default_value_t = ImageLimits::default().max_pixels)]
    max_pixels: u64,
    /// The timeout of fetching an image from its address
    #[arg(long, value_name = "SECONDS", default_value_t = UrlLimits::default().timeout.as_secs())]
    url_timeout: u64,
    /// Reject images at an address with more bytes than this
    #[arg(long, value_name = "BYTES", default_value_t = UrlLimits::default().max_bytes)]
    url_max_bytes: u64,
}

/// The source of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// `-`.
    Stdin,
    /// A file.
    File(PathBuf),
    /// An http(s) URL.
    Url(String),
}

impl Input {
    /// Returns the file name without its extension.
    pub fn stem(&self) -> String {
        match self {
            Input::Stdin => "stdin".into(),
            Input::File(path) => stem(path),
            Input::Url(url) => match stem(Path::new(path_and_name(url).1)) {
                name if name.is_empty() => "image".into(),
                name => name,
            },
        }
    }

    /// Returns the names of the folders that hold the image, from the root of the system or of the server.
    pub fn folders(&self) -> Vec<String> {
        match self {
            Input::Stdin => Vec::new(),
            Input::File(path) => {
                let mut folders = Vec::new();
                let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
                for component in path.parent().into_iter().flat_map(Path::components) {
                    match component {
                        Component::Normal(name) => folders.push(name.to_string_lossy().into_owned()),
                        Component::ParentDir => drop(folders.pop()),
                        _ => {}
                    }
                }
                folders
            }
            Input::Url(url) => {
                let (folder, _) = path_and_name(url);
                let names = folder.split('/').filter(|name| !matches!(*name, "" | "." | ".."));
                names.map(str::to_owned).collect()
            }
        }
    }

    /// Returns the extension of the file name.
    pub fn extension(&self) -> Option<String> {
        let name = match self {
            Input::Stdin => return None,
            Input::File(path) => path,
            Input::Url(url) => Path::new(path_and_name(url).1),
        };
        Some(name.extension()?.to_string_lossy().into_owned())
    }
}

/// Writes the path or address as it was given.
impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Input::Stdin => f.write_str("-"),
            Input::File(path) => path.display().fmt(f),
            Input::Url(url) => f.write_str(url),
        }
    }
}

impl ImageArgs {
    /// Returns the images in the order given.
    pub fn inputs(&self) -> Result<Vec<Input>> {
        let inputs: Vec<Input> = self
            .images
            .iter()
            .map(|name| match name.to_str() {
                Some("-") => Input::Stdin,
                Some(text) if is_url(text) => Input::Url(text.to_owned()),
                _ => Input::File(name.into()),
            })
            .collect();
        if inputs.iter().filter(|input| **input == Input::Stdin).count() > 1 {
            return Err(Error::Usage("stdin holds one image; give - only once".into()));
        }
        Ok(inputs)
    }

    /// Reads an image, upright and in RGB. With `offline`, an address is an error.
    pub fn read(&self, input: &Input, offline: bool) -> Result<RgbImage> {
        let limits = ImageLimits::default().with_max_pixels(self.max_pixels);
        match input {
            Input::File(path) if path.is_dir() => Err(Error::Io {
                path: path.clone(),
                source: io::Error::new(
                    io::ErrorKind::IsADirectory,
                    format!(
                        "it is a folder; name the images in it ({})",
                        path.join("*.jpg").display()
                    ),
                ),
            }),
            Input::File(path) => load_image_with(path, &limits).map_err(limit),
            Input::Url(url) if offline => Err(Error::Offline(url.clone())),
            Input::Url(url) => {
                let url_limits = UrlLimits::default()
                    .with_timeout(Duration::from_secs(self.url_timeout))
                    .with_max_bytes(self.url_max_bytes);
                load_image_url_with(url, &url_limits, &limits).map_err(limit)
            }
            Input::Stdin => {
                let mut bytes = Vec::new();
                let mut stdin = io::stdin().lock().take(limits.max_file_bytes.saturating_add(1));
                stdin.read_to_end(&mut bytes).map_err(|source| Error::Stream {
                    stream: "standard input",
                    source,
                })?;
                decode_image_with("-", &bytes, &limits).map_err(limit)
            }
        }
    }
}

/// Adds the option that sets the limit to the error of an image that exceeds it.
fn limit(error: florence2::Error) -> Error {
    let option = match error {
        florence2::Error::ImageTooLarge { .. } => "--max-pixels",
        florence2::Error::DownloadTooLarge { .. } => "--url-max-bytes",
        error => return error.into(),
    };
    Error::Limit { error, option }
}

/// Returns a file name without its extension.
fn stem(path: &Path) -> String {
    path.file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// Returns the server with the folders of an address's path, and its last part; both without query and fragment.
fn path_and_name(url: &str) -> (&str, &str) {
    let after_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
    let path = after_scheme.split(['?', '#']).next().unwrap_or_default();
    path.rsplit_once('/').unwrap_or((path, ""))
}

/// Checks that a file to write is not an input.
pub fn check_not_an_input(path: &Path, inputs: &[Input]) -> Result<()> {
    let Ok(target) = fs::canonicalize(path) else {
        return Ok(());
    };
    let is_target = |input: &&Input| match input {
        Input::File(path) => fs::canonicalize(path).is_ok_and(|path| path == target),
        Input::Stdin | Input::Url(_) => false,
    };
    match inputs.iter().find(is_target) {
        Some(input) => Err(Error::Usage(format!(
            "{input} is an input; writing to it would destroy it"
        ))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_at_addresses_are_named_by_the_path() {
        for (url, name) in [
            ("https://example.com/a/photo.jpg?size=2#top", "photo"),
            ("http://example.com/", "image"),
            ("http://example.com", "image"),
            ("http://example.com/?x=a/b.png", "image"),
        ] {
            assert_eq!(Input::Url(url.into()).stem(), name, "{url}");
        }
    }
}
