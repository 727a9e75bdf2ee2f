//! Sources of a bundle's files: a folder, or memory.

use std::collections::BTreeMap;
use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use florence2_layout::files::NAMES;
use florence2_layout::graphs::{EXTENSION, FOLDER, ORT_EXTENSION, is_graph};
use florence2_layout::names::DeploymentNames;
use serde::de::DeserializeOwned;

use crate::bytes::Bytes;
use crate::error::{Error, Result};
use crate::fs::{entries, folders_in};
use crate::runtime::{GraphSource, ModelFile, is_inside};

/// The source of a bundle's files.
#[derive(Clone)]
#[non_exhaustive]
pub enum BundleSource {
    /// A folder.
    Folder(PathBuf),
    /// Files in memory.
    Memory {
        /// The model's name in messages.
        name: String,
        /// File contents by path inside the bundle, with `/` between folders. A graph's external data has the path that the
        /// graph has for it, from the graph's folder.
        files: BTreeMap<String, Bytes>,
    },
}

/// Formats files in memory by name and size.
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
    /// Returns the model's name in messages.
    pub fn name(&self) -> String {
        match self {
            BundleSource::Folder(folder) => folder.display().to_string(),
            BundleSource::Memory { name, .. } => name.clone(),
        }
    }

    /// Returns the path of a file, for messages.
    pub(crate) fn path(&self, file: &str) -> PathBuf {
        match self {
            BundleSource::Folder(folder) => folder.join(file),
            BundleSource::Memory { name, .. } => Path::new(name).join(file),
        }
    }

    /// Reads a file; `None` if there is no such file.
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

    /// Reads the deployment's own table of names; an empty one if it has none.
    ///
    /// # Errors
    /// [`Error::Json`] if it is invalid, [`Error::InvalidSetting`] if a path leads out of the deployment.
    pub(crate) fn names(&self) -> Result<DeploymentNames> {
        let names: DeploymentNames = self.read_json(NAMES)?.unwrap_or_default();
        for (graph, of_graph) in &names.graphs {
            if let Some(path) = of_graph.paths().find(|path| !is_inside(path)) {
                return Err(Error::InvalidSetting {
                    file: NAMES,
                    name: graph.name().into(),
                    reason: format!("{path} is not inside the deployment"),
                });
            }
        }
        Ok(names)
    }

    /// Reads a JSON file; `None` if there is no such file.
    pub(crate) fn read_json<T: DeserializeOwned>(&self, file: &str) -> Result<Option<T>> {
        let Some(bytes) = self.read(file)? else {
            return Ok(None);
        };
        let value = serde_json::from_slice(&bytes).map_err(|source| Error::Json {
            path: self.path(file),
            source,
        })?;
        Ok(Some(value))
    }

    /// Returns the files in the bundle's folder and in its folder of graphs, as sorted paths inside the bundle. An
    /// unreadable folder counts as empty.
    pub(crate) fn files(&self) -> Vec<String> {
        let mut files: Vec<String> = match self {
            BundleSource::Folder(folder) => {
                let files = ["", FOLDER].into_iter().flat_map(|inner| {
                    let paths = entries(&folder.join(inner)).into_iter();
                    let files = paths.filter(|path| path.is_file());
                    files.filter_map(move |path| Some(inside(inner, path.file_name()?.to_str()?)))
                });
                files.collect()
            }
            BundleSource::Memory { files, .. } => {
                let is_here =
                    |path: &&String| path.rsplit_once('/').is_none_or(|(folder, _)| folder == FOLDER);
                files.keys().filter(is_here).cloned().collect()
            }
        };
        files.sort_unstable();
        files
    }

    /// Returns the [files](Self::files) of graphs.
    pub(crate) fn graph_files(&self) -> Vec<String> {
        let mut files = self.files();
        files.retain(|file| file.ends_with(EXTENSION) || file.ends_with(ORT_EXTENSION));
        files
    }

    /// Returns the files with the extension of a graph, in the bundle's folder and two levels of folders inside it.
    pub(crate) fn all_graphs(&self) -> Vec<String> {
        let mut graphs: Vec<String> = match self {
            BundleSource::Folder(folder) => {
                let mut graphs = Vec::new();
                let mut folders = vec![(String::new(), 0)];
                while let Some((inner, depth)) = folders.pop() {
                    for path in entries(&folder.join(&inner)) {
                        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
                            continue;
                        };
                        if is_graph(name) && path.is_file() {
                            graphs.push(inside(&inner, name));
                        } else if depth < 2 && path.is_dir() {
                            folders.push((inside(&inner, name), depth + 1));
                        }
                    }
                }
                graphs
            }
            BundleSource::Memory { files, .. } => {
                files.keys().filter(|file| is_graph(file)).cloned().collect()
            }
        };
        graphs.sort_unstable();
        graphs
    }

    /// Returns the snapshot of a repository's folder in a hub's cache: that of branch `main`, or else the first.
    pub(crate) fn snapshot(&self) -> Option<PathBuf> {
        let BundleSource::Folder(folder) = self else {
            return None;
        };
        let snapshots = folder.join("snapshots");
        let main = std::fs::read_to_string(folder.join("refs/main")).ok();
        let main = main.map(|commit| snapshots.join(commit.trim()));
        let first = || folders_in(&snapshots).into_iter().next();
        main.filter(|snapshot| snapshot.is_dir()).or_else(first)
    }

    /// Returns whether there is a file.
    pub(crate) fn has(&self, file: &str) -> bool {
        match self {
            BundleSource::Folder(folder) => folder.join(file).is_file(),
            BundleSource::Memory { files, .. } => files.contains_key(file),
        }
    }

    /// Returns the files of external data that a graph in a folder names, as paths inside the bundle.
    pub(crate) fn named_data(&self, graph: &str) -> Vec<String> {
        let BundleSource::Folder(folder) = self else {
            return Vec::new();
        };
        // A graph that cannot be read is reported when it is loaded.
        let file = ModelFile::read(&GraphSource::File(folder.join(graph)));
        let names = file.ok().flatten().map(|mut file| file.external_files());
        let names = names.unwrap_or_default();
        let folder = graph.rsplit_once('/').map_or("", |(folder, _)| folder);
        let names = names.iter().map(|name| name.strip_prefix("./").unwrap_or(name));
        names.map(|name| inside(folder, name)).collect()
    }

    /// Returns the graph in this file, a path inside the bundle; `None` if there is no such file.
    pub fn graph(&self, file: &str) -> Option<GraphSource> {
        match self {
            BundleSource::Folder(folder) => {
                let path = folder.join(file);
                path.is_file().then_some(GraphSource::File(path))
            }
            BundleSource::Memory { files, .. } => Some(GraphSource::Memory {
                name: file.to_owned(),
                model: files.get(file)?.clone(),
                external_data: beside(files, file),
            }),
        }
    }
}

/// Returns the path of a file in a folder of a bundle.
fn inside(folder: &str, name: &str) -> String {
    if folder.is_empty() {
        name.to_owned()
    } else {
        format!("{folder}/{name}")
    }
}

/// Returns the files in memory that may be external data of a graph, by their paths from the graph's folder.
fn beside(files: &BTreeMap<String, Bytes>, graph: &str) -> Vec<(String, Bytes)> {
    let folder = graph.rfind('/').map_or("", |end| &graph[..=end]);
    let others = files.iter().filter(|(path, _)| *path != graph);
    let beside =
        others.filter_map(|(path, bytes)| Some((path.strip_prefix(folder)?.to_owned(), bytes.clone())));
    beside.collect()
}

#[cfg(test)]
mod tests {
    use florence2_layout::onnx::{EXTERNAL, GraphProto, ModelProto, TensorProto, entry};
    use prost::Message;

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
    fn files_of_external_data_are_named_by_the_graph() {
        let tensor = |location: &str| TensorProto {
            external_data: vec![entry("location", location), entry("length", "4")],
            data_location: Some(EXTERNAL),
            ..TensorProto::default()
        };
        let graph = GraphProto {
            initializer: ["b.bin", "./a.bin", "b.bin"].map(tensor).to_vec(),
            ..GraphProto::default()
        };
        let model = ModelProto {
            graph: Some(graph),
            ..ModelProto::default()
        };
        let folder = tempfile::tempdir().unwrap();
        let source = BundleSource::Folder(folder.path().into());
        std::fs::create_dir(folder.path().join("onnx")).unwrap();
        std::fs::write(folder.path().join("g.onnx"), model.encode_to_vec()).unwrap();
        std::fs::write(folder.path().join("onnx/g.onnx"), model.encode_to_vec()).unwrap();
        std::fs::write(folder.path().join("page.onnx"), "<html>not found</html>").unwrap();
        assert_eq!(source.named_data("g.onnx"), ["a.bin", "b.bin"]);
        assert_eq!(source.named_data("onnx/g.onnx"), ["onnx/a.bin", "onnx/b.bin"]);
        assert!(source.named_data("page.onnx").is_empty());
    }
}
