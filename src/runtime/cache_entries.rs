//! What our cache folder holds for ONNX Runtime: fetched libraries, and what execution providers made of graphs.

use std::fs;
use std::path::{Path, PathBuf};

use super::cached;
use super::device::{DeviceKind, provider_folder};
use super::provider_cache::graph_of;
use crate::error::Result;
use crate::fs::{folders_in, remove, size_of_folder};

/// Something that [our cache](crate::cache_dir) holds for ONNX Runtime.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheEntry {
    /// What it is.
    pub content: CacheContent,
    /// Where it is.
    pub folder: PathBuf,
    /// What it takes on the disk.
    pub bytes: u64,
}

/// What an entry of the cache is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CacheContent {
    /// A fetched ONNX Runtime.
    Library {
        /// Its version and platform: `1.32.0-linux-x86_64`.
        version: String,
    },
    /// What a provider made of a graph: TensorRT's engines, CoreML's compiled models.
    Graph {
        /// Whose provider.
        device: DeviceKind,
        /// The graph's file, or its name if it came from memory; `None` if that is not known any more.
        graph: Option<String>,
    },
    /// What a provider keeps for all graphs: TensorRT's timings. It lies beside what was made of single graphs.
    Shared {
        /// Whose provider.
        device: DeviceKind,
    },
}

impl CacheEntry {
    /// Removes it. What a running program uses of it should not be removed: the program may fail.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) if that fails; that it is gone already is none.
    pub fn remove(&self) -> Result<()> {
        match self.content {
            CacheContent::Shared { .. } => files_in(&self.folder)
                .iter()
                .try_for_each(|(path, _)| remove(path).map(drop)),
            _ => remove(&self.folder).map(drop),
        }
    }
}

/// What our cache holds for ONNX Runtime: libraries, then what was made of graphs, in the order of the folders.
/// ONNX Runtime is not started for this.
pub fn cache_entries() -> Vec<CacheEntry> {
    crate::cache_dir()
        .map(|root| entries_in(&root))
        .unwrap_or_default()
}

fn entries_in(root: &Path) -> Vec<CacheEntry> {
    let libraries = folders_in(&cached::root(root)).into_iter().filter_map(|folder| {
        let version = folder.file_name()?.to_str()?.to_owned();
        // Else it is what an interrupted download left, which the next one removes.
        cached::Record::read(&folder)?;
        Some(entry(CacheContent::Library { version }, folder))
    });
    let made = DeviceKind::ALL.iter().flat_map(|&device| {
        let folder = provider_folder(root, device);
        let graphs = folders_in(&folder).into_iter().map(move |folder| {
            let graph = graph_of(&folder);
            entry(CacheContent::Graph { device, graph }, folder)
        });
        let bytes = files_in(&folder).iter().map(|(_, bytes)| bytes).sum();
        let shared = (bytes > 0).then_some(CacheEntry {
            content: CacheContent::Shared { device },
            folder,
            bytes,
        });
        graphs.chain(shared)
    });
    libraries.chain(made).collect()
}

fn entry(content: CacheContent, folder: PathBuf) -> CacheEntry {
    CacheEntry {
        content,
        bytes: size_of_folder(&folder),
        folder,
    }
}

/// A folder's own files, with their lengths.
fn files_in(folder: &Path) -> Vec<(PathBuf, u64)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| Some((entry.path(), entry.metadata().ok()?)))
        .filter(|(_, found)| found.is_file())
        .map(|(path, found)| (path, found.len()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::provider_cache::describe;

    fn contents(root: &Path) -> Vec<CacheContent> {
        entries_in(root).into_iter().map(|entry| entry.content).collect()
    }

    #[test]
    fn what_providers_made_is_listed_by_graph_and_removed_one_by_one() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(entries_in(root.path()), []);
        let device = DeviceKind::TensorRt;
        let graphs = ["vision", "step"].map(|name| {
            let folder = provider_folder(root.path(), device).join(format!("key of {name}"));
            fs::create_dir_all(&folder).unwrap();
            describe(&folder, name).unwrap();
            describe(&folder, name).unwrap();
            fs::write(folder.join("some.engine"), [0; 1000]).unwrap();
            folder
        });
        fs::write(provider_folder(root.path(), device).join("some.timing"), [0; 70]).unwrap();

        let mut entries = entries_in(root.path());
        let shared = entries.pop().unwrap();
        assert_eq!(shared.content, CacheContent::Shared { device });
        assert_eq!(shared.bytes, 70);
        assert_eq!(entries.len(), 2);
        for entry in &entries {
            let graph = match entry.folder == graphs[0] {
                true => "vision",
                false => "step",
            };
            assert!(graphs.contains(&entry.folder) && entry.bytes > 1000);
            assert_eq!(
                entry.content,
                CacheContent::Graph {
                    device,
                    graph: Some(graph.to_owned())
                }
            );
        }

        shared.remove().unwrap();
        assert_eq!(contents(root.path()).len(), 2);
        entries[0].remove().unwrap();
        entries[0].remove().unwrap();
        assert_eq!(entries_in(root.path()), entries[1..]);
        // What an older version or a killed process left can be removed too.
        fs::remove_file(entries[1].folder.join("graph.json")).unwrap();
        assert_eq!(
            contents(root.path()),
            [CacheContent::Graph { device, graph: None }]
        );
    }

    #[test]
    fn libraries_are_listed_by_their_versions() {
        let root = tempfile::tempdir().unwrap();
        let library = cached::root(root.path()).join("1.32.0-linux-x86_64");
        fs::create_dir_all(&library).unwrap();
        fs::create_dir(cached::root(root.path()).join("unfinished-1")).unwrap();
        fs::write(library.join("library"), [0; 10]).unwrap();
        assert_eq!(contents(root.path()), []);
        fs::write(library.join("verified.json"), r#"{"size":10,"sha256":"0"}"#).unwrap();
        let entries = entries_in(root.path());
        let version = "1.32.0-linux-x86_64".to_owned();
        assert_eq!(entries[0].content, CacheContent::Library { version });
        entries[0].remove().unwrap();
        assert_eq!(contents(root.path()), []);
    }
}
