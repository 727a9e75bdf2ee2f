//! Errors and outcomes of commands.

use std::io;
use std::path::PathBuf;

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The outcome of a command without an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Everything succeeded: exit code 0.
    AllGood,
    /// Some inputs failed or missed a requirement, each with a message; the others succeeded: exit code 1.
    SomeFailed,
}

/// An error that ends a command: exit code 2, or 0 for a broken pipe.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Arguments are invalid together.
    #[error("{0}")]
    Usage(String),
    /// An error of the model, the runtime or the device.
    #[error(transparent)]
    Engine(#[from] florence2::Error),
    /// A hub does not give the model that was asked of it because there is no folder of this name.
    #[error("{id}: there is no such folder, and the hub gives no model of this name")]
    NotAFolder {
        /// The name.
        id: florence2::ModelId,
        /// The hub's error.
        source: Box<florence2::Error>,
    },
    /// An error of the exporter.
    #[error(transparent)]
    Export(#[from] florence2_export::Error),
    /// A file cannot be read or written.
    #[error("{} cannot be accessed", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Standard output or input failed.
    #[error("{stream}")]
    Stream {
        /// `standard output` or `standard input`.
        stream: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// An image cannot be encoded.
    #[error("{} cannot be encoded", path.display())]
    Image {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: image::ImageError,
    },
    /// A saved benchmark or evaluation cannot be compared with.
    #[error("{}: {reason}", path.display())]
    Baseline {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// A data set cannot be evaluated.
    #[error("{}: {reason}", path.display())]
    Dataset {
        /// The folder, or the file in it.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// The engine failed on a task about an image, or on a batch of images.
    #[error("{task} on {}", images.join(", "))]
    Answer {
        /// The task's tag.
        task: &'static str,
        /// The names of the images.
        images: Vec<String>,
        source: Box<florence2::Error>,
    },
    /// A process of the benchmark failed.
    #[error("{0}")]
    Worker(String),
    /// An image at an address is needed with `--offline`.
    #[error("{0}: not fetched, since --offline forbids the network; leave that out, or name a file")]
    Offline(String),
    /// An image exceeds a limit that an option of the command sets.
    #[error("{error} (see {option})")]
    Limit {
        /// The engine's error, which has no cause.
        error: florence2::Error,
        /// The option.
        option: &'static str,
    },
    /// A model has errors that `inspect` has reported.
    #[error("{0} is not a usable model; the report says what is missing")]
    Unusable(String),
}

impl Error {
    /// Returns a function for `map_err` that adds a path.
    pub fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Error {
        let path = path.into();
        move |source| Error::Io { path, source }
    }

    /// Returns an error of standard output.
    pub fn stdout(source: io::Error) -> Error {
        Error::Stream {
            stream: "standard output",
            source,
        }
    }

    /// Returns whether the error is about one input, so that others may succeed.
    pub fn concerns_the_input(&self) -> bool {
        matches!(
            self,
            Error::Engine(
                florence2::Error::InvalidRegion { .. }
                    | florence2::Error::ImageEmpty { .. }
                    // float16 graphs overflow for certain images only.
                    | florence2::Error::NotFinite { .. }
            )
        )
    }

    /// Returns whether the user cancelled the work.
    pub fn is_cancelled(&self) -> bool {
        match self {
            Error::Engine(error) => matches!(error, florence2::Error::Cancelled),
            Error::Answer { source, .. } => matches!(**source, florence2::Error::Cancelled),
            _ => false,
        }
    }

    /// Returns whether standard output was closed by its reader.
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, Error::Stream { source, .. } if source.kind() == io::ErrorKind::BrokenPipe)
    }
}

/// Returns what a user of the program can do about an error of the engine.
fn hint(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    let merge = |base: &str, adapter: &str| {
        format!(
            "`florence2 export BASE --adapter {adapter} --out DIR` merges it; BASE is the folder or name of {base}"
        )
    };
    let error = match error.downcast_ref() {
        Some(Error::Engine(error)) => error,
        Some(Error::Answer { source, .. } | Error::NotAFolder { source, .. }) => source,
        Some(Error::Export(florence2_export::Error::IsAdapter { folder, base, .. })) => {
            return Some(merge(base, &folder.display().to_string()));
        }
        _ => error.downcast_ref()?,
    };
    Some(match error {
        florence2::Error::IsAdapter { model, base } => merge(base, model),
        florence2::Error::RuntimeNotFound { .. } if cfg!(target_env = "musl") => {
            "--ort-library names one".into()
        }
        florence2::Error::RuntimeNotFound { .. } => {
            "without --no-fetch and --offline, it is fetched; --ort-library names one".into()
        }
        florence2::Error::DeviceUnusable { .. } => {
            "`florence2 devices` lists the devices that can be used here; --ort-library names another ONNX Runtime".into()
        }
        florence2::Error::CheckpointOnly { path } => {
            format!("`florence2 export {} --out DIR` exports it", path.display())
        }
        florence2::Error::DtypeNotFound { .. } => "see --dtype".into(),
        florence2::Error::NoGraphs { .. } => "`florence2 models` lists known models".into(),
        florence2::Error::NotCached { model, .. } => format!("`florence2 pull {model}` fetches it"),
        florence2::Error::NoSpace { .. } => "`florence2 cache list` lists what is cached".into(),
        florence2::Error::InvalidOption {
            name: "provider option",
            ..
        } => "see --ep-option".into(),
        _ => return None,
    })
}

/// Returns an error, its causes and a hint in one line, without causes that a message of another library quotes already.
pub fn describe(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        if !text.contains(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        cause = error.source();
    }
    if let Some(hint) = hint(error) {
        text.push_str(&format!(" ({hint})"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_appear_once() {
        let quoted = Error::io("x.png")(io::Error::other("no space"));
        assert_eq!(describe(&quoted), "x.png cannot be accessed: no space");
        let unquoted = florence2::Error::Tokenizer {
            reason: "reading tokenizer.json".into(),
            source: Some("line 3".into()),
        };
        assert_eq!(describe(&unquoted), "tokenizer: reading tokenizer.json: line 3");
    }

    #[test]
    fn only_a_closed_output_is_a_broken_pipe() {
        let broken = || io::Error::from(io::ErrorKind::BrokenPipe);
        assert!(Error::stdout(broken()).is_broken_pipe());
        assert!(!Error::stdout(io::Error::other("disk full")).is_broken_pipe());
        assert!(!Error::io("fifo")(broken()).is_broken_pipe());
    }
}
