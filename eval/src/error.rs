//! What can go wrong.

use std::path::PathBuf;
use std::{io, iter};

use florence2::Cause;

/// A result of this program.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What ends a run: exit code 2.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No data set where one should be.
    #[error("cannot read {}: {source}. A data set is a folder with scenes.jsonl and its pictures: see eval/README.md", path.display())]
    DataSet {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A scene that is not as the format has it.
    #[error("{}, line {line}: {source}. The format is in eval/README.md", path.display())]
    Scene {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        source: Cause,
    },
    /// A data set without a single question.
    #[error("{} asks nothing of the tasks and scenes that were chosen; see --tasks and --limit", path.display())]
    NoSamples {
        /// The file.
        path: PathBuf,
    },
    /// Not one picture could be read.
    #[error("not one picture of the data set could be read; the first: {image}: {reason}")]
    NoPictures {
        /// The picture.
        image: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The model or the runtime.
    #[error(transparent)]
    Engine(#[from] florence2::Error),
    /// The engine failed on a question, or on a batch of them.
    #[error("{task} on {}: {source}", images.join(", "))]
    Answer {
        /// The task's tag.
        task: &'static str,
        /// The pictures.
        images: Vec<String>,
        /// Why.
        source: Box<florence2::Error>,
    },
    /// A baseline that cannot be read.
    #[error("cannot read the baseline {}: {source}. Make one with --format json", path.display())]
    Baseline {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Cause,
    },
    /// A baseline that this run cannot be compared with.
    #[error("the baseline cannot be compared with: {reason}. Make a new one from the same scenes")]
    OtherBaseline {
        /// Why not.
        reason: String,
    },
    /// A result that is no JSON.
    #[error("cannot write the result: {0}")]
    Json(#[from] serde_json::Error),
    /// Standard output.
    #[error("standard output: {0}")]
    Stdout(#[source] io::Error),
}

/// An error and its causes in one line; causes that a message quotes already are left out.
pub fn describe(error: &dyn std::error::Error) -> String {
    let causes = iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| {
        let cause = cause.to_string();
        if text.contains(&cause) {
            text
        } else {
            format!("{text}: {cause}")
        }
    })
}
