//! What ends a command, and how well it went otherwise.

use std::io;
use std::path::PathBuf;

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// How a command went that was not ended by an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Everything asked for was done.
    AllGood,
    /// Some inputs failed, or fell short of what was asked of them, each with a message; the others were done.
    SomeFailed,
}

/// What ends a command: exit code 2, a broken pipe excepted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Arguments that make no sense together.
    #[error("{0}")]
    Usage(String),
    /// The model, the runtime or the device.
    #[error(transparent)]
    Engine(#[from] florence2::Error),
    /// The exporter.
    #[error(transparent)]
    Export(#[from] florence2_export::Error),
    /// A file that could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Standard output or input.
    #[error("{stream}: {source}")]
    Stream {
        /// `standard output` or `standard input`.
        stream: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A picture that could not be encoded.
    #[error("{}: {source}", path.display())]
    Picture {
        /// Which.
        path: PathBuf,
        /// Why.
        source: image::ImageError,
    },
    /// A saved benchmark that cannot be compared with.
    #[error("{}: {reason}", path.display())]
    Baseline {
        /// Which.
        path: PathBuf,
        /// Why, and what to do.
        reason: String,
    },
    /// A data set that cannot be evaluated.
    #[error("{}: {reason}", path.display())]
    Dataset {
        /// The folder, or the file in it.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// The engine failed on a task about an image, or on a batch of images.
    #[error("{task} on {}: {source}", images.join(", "))]
    Answer {
        /// The task's tag.
        task: &'static str,
        /// The names of the images.
        images: Vec<String>,
        source: Box<florence2::Error>,
    },
    /// What went wrong in a process of the benchmark.
    #[error("{0}")]
    Worker(String),
    /// A picture at an address.
    #[error("{0}: not fetched, since --offline keeps off the network; leave that out, or name a file")]
    Offline(String),
    /// A model of which `inspect` has just said what is wrong.
    #[error("{0} is not a usable model; the report says what is missing")]
    Unusable(String),
}

impl Error {
    /// For `map_err`.
    pub fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Error {
        let path = path.into();
        move |source| Error::Io { path, source }
    }

    /// For `map_err`.
    pub fn stdout(source: io::Error) -> Error {
        Error::Stream {
            stream: "standard output",
            source,
        }
    }

    /// Whether other inputs may go well where this one failed.
    pub fn concerns_the_input(&self) -> bool {
        matches!(self, Error::Engine(florence2::Error::InvalidRegion { .. }))
    }

    /// Whether the user called the work off.
    pub fn is_cancelled(&self) -> bool {
        match self {
            Error::Engine(error) => matches!(error, florence2::Error::Cancelled),
            Error::Answer { source, .. } => matches!(**source, florence2::Error::Cancelled),
            _ => false,
        }
    }

    /// Whether standard output was closed by its reader.
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, Error::Stream { source, .. } if source.kind() == io::ErrorKind::BrokenPipe)
    }
}

/// An error and its causes in one line; causes that a message quotes already are left out.
pub fn describe(error: &dyn std::error::Error) -> String {
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
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_said_once() {
        let quoted = Error::io("x.png")(io::Error::other("no space"));
        assert_eq!(describe(&quoted), "x.png: no space");
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
