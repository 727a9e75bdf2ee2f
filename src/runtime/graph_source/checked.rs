//! Graphs that were checked before ONNX Runtime sees them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use florence2_layout::onnx::ModelProto;

use super::external_data::{files_in_memory, real_files};
use super::{GraphSource, ModelFile};
use crate::error::Result;

/// A graph whose message can be read, and whose external data is where it may be.
#[derive(Debug)]
pub(crate) struct CheckedGraph {
    source: GraphSource,
    /// The message without its weights; `None` for a session, and for a graph in ONNX Runtime's own format.
    file: Option<ModelFile>,
    is_ort_format: bool,
    /// The files of external data, by their locations in the graph.
    locations: BTreeMap<String, PathBuf>,
}

impl CheckedGraph {
    /// Checks a graph. Of a graph in memory, keeps the files of external data that it names.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) if a file cannot be read; [`Error::InvalidGraph`](crate::Error::InvalidGraph) if the
    /// graph is a pointer of Git LFS, damaged, or has external data outside its folder.
    pub(crate) fn new(mut source: GraphSource) -> Result<Self> {
        source.check_readable()?;
        let mut file = ModelFile::read(&source)?;
        let names = file.as_mut().map(ModelFile::external_files).unwrap_or_default();
        let graph = source.name();
        let mut locations = BTreeMap::new();
        match &mut source {
            GraphSource::File(path) => {
                let folder = path.parent().unwrap_or(Path::new(""));
                locations = real_files(&graph, folder, names)?;
            }
            GraphSource::Repaired { folder, .. } => locations = real_files(&graph, folder, names)?,
            GraphSource::Memory { external_data, .. } => {
                *external_data = files_in_memory(&graph, external_data, names)?;
            }
            GraphSource::Session(_) => {}
        }
        Ok(Self {
            is_ort_format: file.is_none() && !matches!(source, GraphSource::Session(_)),
            source,
            file,
            locations,
        })
    }

    pub(crate) fn source(&self) -> &GraphSource {
        &self.source
    }

    /// Returns the ONNX message; `None` for a session, and for a graph in ONNX Runtime's own format.
    pub(crate) fn model(&self) -> Option<&ModelProto> {
        Some(&self.file.as_ref()?.model)
    }

    /// Returns whether the graph is in ONNX Runtime's own format.
    pub(crate) fn is_ort_format(&self) -> bool {
        self.is_ort_format
    }

    /// Returns the files of external data; none for a graph in memory.
    pub(crate) fn data_files(&self) -> impl Iterator<Item = &Path> {
        self.locations.values().map(PathBuf::as_path)
    }

    /// Changes the message by `edit`, which returns `None` if it changes nothing. Returns what `edit` returns, and the graph:
    /// a changed one is in memory, and its weights stay where they are.
    ///
    /// # Errors
    /// As [`ModelFile::rebuild_beside`].
    pub(crate) fn edited<T>(
        mut self,
        edit: impl FnOnce(&mut ModelProto) -> Option<T>,
    ) -> Result<(Self, Option<T>)> {
        let Some(result) = self.file.as_mut().and_then(|file| edit(&mut file.model)) else {
            return Ok((self, None));
        };
        let source = match (self.source, self.file) {
            (GraphSource::File(path), Some(file)) => file.rebuild_beside(path, &self.locations)?,
            (
                GraphSource::Memory {
                    name,
                    model,
                    external_data,
                },
                Some(file),
            ) => file.rebuild_in_memory(name, model, external_data),
            (unchanged, _) => unchanged,
        };
        let edited = Self {
            source,
            file: None,
            is_ort_format: false,
            locations: self.locations,
        };
        Ok((edited, Some(result)))
    }
}
