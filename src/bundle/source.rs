//! Where a bundle's files come from.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::ErrorKind;
use std::ops::Bound;
use std::path::{Path, PathBuf};

use florence2_layout::graphs::{EXTENSION, FOLDER, is_external_data};

use crate::bytes::Bytes;
use crate::error::{Error, Result};
use crate::runtime::SharedSession;

/// Where a bundle's files come from.
#[derive(Clone)]
#[non_exhaustive]
pub enum BundleSource {
    /// A folder.
    Folder(PathBuf),
    /// Files in memory.
    Memory {
        /// What the model is called in messages.
        name: String,
        /// File contents by path inside the bundle, `/` between folders; a graph's external data beside the graph,
        /// under the name that the graph has for it.
        files: BTreeMap<String, Bytes>,
    },
}

/// One graph, as ONNX Runtime is to load it.
#[derive(Debug, Clone)]
pub(crate) enum GraphBytes {
    /// From a file, with external data beside it.
    File(PathBuf),
    /// From memory.
    Memory {
        graph: Bytes,
        /// Its external data, by the names that the graph has for them.
        external_data: Vec<(String, Bytes)>,
    },
    /// A graph rebuilt from the one in `file`, with its weights in files of a folder.
    Rebuilt {
        file: PathBuf,
        graph: Bytes,
        folder: PathBuf,
    },
    /// Loaded already, by the application.
    Session(SharedSession),
}

/// Files in memory by name and size: their contents are too much for a message.
impl fmt::Debug for BundleSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BundleSource::Folder(folder) => f.debug_tuple("Folder").field(folder).finish(),
            BundleSource::Memory { name, files } => {
                let sizes: BTreeMap<&String, usize> =
                    files.iter().map(|(file, bytes)| (file, bytes.len())).collect();
                f.debug_struct("Memory")
                    .field("name", name)
                    .field("files", &sizes)
                    .finish()
            }
        }
    }
}

impl BundleSource {
    /// What the model is called in messages.
    pub fn name(&self) -> String {
        match self {
            BundleSource::Folder(folder) => folder.display().to_string(),
            BundleSource::Memory { name, .. } => name.clone(),
        }
    }

    /// The path of a file, for messages.
    pub(crate) fn path(&self, file: &str) -> PathBuf {
        match self {
            BundleSource::Folder(folder) => folder.join(file),
            BundleSource::Memory { name, .. } => Path::new(name).join(file),
        }
    }

    /// A file's bytes; `None` if there is no such file.
    pub(crate) fn read(&self, file: &str) -> Result<Option<Bytes>> {
        match self {
            BundleSource::Folder(folder) => {
                let path = folder.join(file);
                match std::fs::read(&path) {
                    Ok(bytes) => Ok(Some(bytes.into())),
                    Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
                    Err(source) => Err(Error::Io { path, source }),
                }
            }
            BundleSource::Memory { files, .. } => Ok(files.get(file).cloned()),
        }
    }

    /// A JSON file's value; `None` if there is no such file.
    pub(crate) fn read_json(&self, file: &str) -> Result<Option<serde_json::Value>> {
        let Some(bytes) = self.read(file)? else {
            return Ok(None);
        };
        let value = serde_json::from_slice(&bytes).map_err(|source| Error::Json {
            path: self.path(file),
            source,
        })?;
        Ok(Some(value))
    }

    /// The files of graphs, in the folder for them and beside the configuration, as paths inside the bundle.
    pub(crate) fn graph_files(&self) -> Vec<String> {
        let mut files: Vec<String> = match self {
            BundleSource::Folder(folder) => ["", FOLDER]
                .into_iter()
                .flat_map(|inner| {
                    // What cannot be read shows where its files are missed.
                    let entries = std::fs::read_dir(folder.join(inner))
                        .into_iter()
                        .flatten()
                        .flatten();
                    entries
                        .filter(|entry| entry.path().is_file())
                        .filter_map(move |entry| {
                            let name = entry.file_name().into_string().ok()?;
                            Some(if inner.is_empty() {
                                name
                            } else {
                                format!("{inner}/{name}")
                            })
                        })
                })
                .collect(),
            BundleSource::Memory { files, .. } => {
                let is_here =
                    |path: &&String| path.rsplit_once('/').is_none_or(|(folder, _)| folder == FOLDER);
                files.keys().filter(is_here).cloned().collect()
            }
        };
        files.retain(|file| file.ends_with(EXTENSION));
        files.sort_unstable();
        files
    }

    /// The files of weights that a graph in a folder names, as paths inside the bundle.
    pub(crate) fn named_data(&self, graph: &str) -> Vec<String> {
        let BundleSource::Folder(folder) = self else {
            return Vec::new();
        };
        let path = folder.join(graph);
        let is_searched = std::fs::metadata(&path).is_ok_and(|file| file.len() <= MOST_SEARCHED);
        // What cannot be read shows when it is loaded.
        let bytes = is_searched.then(|| std::fs::read(&path).unwrap_or_default());
        let inside = graph
            .rsplit_once('/')
            .map_or(String::new(), |(inside, _)| format!("{inside}/"));
        let names = external_names(&bytes.unwrap_or_default()).into_iter();
        names.map(|name| format!("{inside}{name}")).collect()
    }

    /// A graph, if it is there.
    pub(crate) fn graph(&self, file: &str) -> Option<GraphBytes> {
        match self {
            BundleSource::Folder(folder) => {
                let path = folder.join(file);
                path.is_file().then_some(GraphBytes::File(path))
            }
            BundleSource::Memory { files, .. } => Some(GraphBytes::Memory {
                graph: files.get(file)?.clone(),
                external_data: external_data(files, file),
            }),
        }
    }
}

/// Graphs of more bytes are not searched for the names of files beside them: these carry their weights.
const MOST_SEARCHED: u64 = 16 << 20;

/// The names of the files that a graph has its weights in, as it has them.
///
/// They are looked for where ONNX's format has them, a tensor's `external_data` entry of key `location`, without reading all
/// the rest: an entry is its key (field 1) and its value (field 2), each with its length.
fn external_names(graph: &[u8]) -> BTreeSet<String> {
    const KEY: &[u8] = b"\x0a\x08location\x12";
    let values = memchr::memmem::find_iter(graph, KEY).filter_map(|at| {
        let value = graph.get(at + KEY.len()..)?;
        // A name is shorter than 128 bytes, and its length then one byte.
        let (&length, rest) = value.split_first()?;
        let name = rest.get(..usize::from(length)).filter(|_| length < 128)?;
        String::from_utf8(name.to_vec()).ok()
    });
    values.collect()
}

/// The external data of a graph among files in memory, by their names without the folder.
fn external_data(files: &BTreeMap<String, Bytes>, graph: &str) -> Vec<(String, Bytes)> {
    let after = (Bound::Excluded(graph), Bound::Unbounded);
    files
        .range::<str, _>(after)
        .take_while(|(path, _)| path.starts_with(graph))
        .filter(|(path, _)| is_external_data(path, graph))
        .map(|(path, bytes)| {
            let name = path.rsplit('/').next().unwrap_or(path);
            (name.to_owned(), bytes.clone())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debugging_shows_sizes_and_not_contents() {
        let files = BTreeMap::from([("onnx/a.onnx".to_owned(), vec![7; 100_000].into())]);
        let source = BundleSource::Memory {
            name: "small".into(),
            files,
        };
        assert_eq!(
            format!("{source:?}"),
            r#"Memory { name: "small", files: {"onnx/a.onnx": 100000} }"#
        );
    }

    #[test]
    fn names_of_external_data_are_found_in_a_graph() {
        let graph = b"..\x0a\x08location\x12\x05a.bin\x0a\x08location\x12\x05b.bin\x0a\x08location\x12\xff";
        let names: Vec<String> = external_names(graph).into_iter().collect();
        assert_eq!(names, ["a.bin", "b.bin"]);
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("g.onnx"), graph).unwrap();
        let source = BundleSource::Folder(folder.path().into());
        assert_eq!(source.named_data("g.onnx"), ["a.bin", "b.bin"]);
    }

    #[test]
    fn external_data_is_found_beside_its_graph() {
        let names = [
            "onnx/a.onnx",
            "onnx/a.onnx.data",
            "onnx/a.onnx_data",
            "onnx/a.onnx_data_1",
            "onnx/a.onnx_notes",
            "onnx/b.onnx_data",
        ];
        let files = names.map(|name| (name.to_owned(), vec![1].into()));
        let found = external_data(&BTreeMap::from(files), "onnx/a.onnx");
        let found: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(found, ["a.onnx.data", "a.onnx_data", "a.onnx_data_1"]);
    }
}
