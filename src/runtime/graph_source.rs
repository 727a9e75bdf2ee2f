//! Sources of graphs: files, memory, sessions.

mod checked;
mod external_data;
mod model_file;

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use florence2_layout::files::LFS_POINTER;
use ort::session::Session;

use crate::bytes::Bytes;
use crate::error::{Error, Result};

pub(crate) use checked::CheckedGraph;
pub(crate) use external_data::is_inside;
pub(crate) use model_file::ModelFile;

/// A session that the application and the engine share: it is locked for each run.
pub type SharedSession = Arc<Mutex<Session>>;

/// The source of a graph. Cloning copies no weights.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum GraphSource {
    /// An ONNX file, with external data in files beside it.
    File(PathBuf),
    /// An ONNX model in memory.
    Memory {
        /// The graph's name in error messages.
        name: String,
        /// The model.
        model: Bytes,
        /// Files of external data, with their names in the model. Others are ignored.
        external_data: Vec<(String, Bytes)>,
    },
    /// A changed copy, in memory, of the ONNX model in a file.
    Repaired {
        /// The original.
        file: PathBuf,
        /// The changed model.
        model: Bytes,
        /// The folder that the names of its external data are relative to.
        folder: PathBuf,
    },
    /// A session that the application has loaded.
    Session(SharedSession),
}

impl GraphSource {
    /// An ONNX model in memory without external data, called `name` in messages.
    pub fn memory(name: impl Into<String>, model: impl Into<Bytes>) -> Self {
        GraphSource::Memory {
            name: name.into(),
            model: model.into(),
            external_data: Vec::new(),
        }
    }

    /// Returns the graph's name in error messages: the file's path, or the name of a graph in memory.
    pub fn name(&self) -> String {
        match self {
            GraphSource::File(path) | GraphSource::Repaired { file: path, .. } => path.display().to_string(),
            GraphSource::Memory { name, .. } => name.clone(),
            GraphSource::Session(_) => "session".into(),
        }
    }

    /// Checks that the graph can be read and is not a pointer of Git LFS, which `git clone` leaves in place of a large file.
    fn check_readable(&self) -> Result<()> {
        let is_pointer = match self {
            GraphSource::File(path) => {
                // ONNX Runtime's own message for a file that cannot be opened depends on the platform.
                let mut file = File::open(path).map_err(Error::io(path))?;
                let mut start = [0; LFS_POINTER.len()];
                file.read_exact(&mut start).is_ok() && start == LFS_POINTER
            }
            GraphSource::Memory { model, .. } => model.starts_with(LFS_POINTER),
            GraphSource::Repaired { .. } | GraphSource::Session(_) => false,
        };
        if is_pointer {
            return Err(
                self.invalid("it is a Git LFS pointer, not the file itself; fetch the file (`git lfs pull`)")
            );
        }
        Ok(())
    }

    fn invalid(&self, reason: impl Into<String>) -> Error {
        Error::InvalidGraph {
            graph: self.name(),
            reason: reason.into(),
        }
    }
}
