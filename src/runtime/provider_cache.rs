//! Where execution providers keep what they make of graphs: `providers/<device>/<key of the graph>` in our cache folder.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use florence2_layout::graphs::is_external_data;

use super::device::{Device, ProviderCache};
use super::graph_source::GraphSource;
use crate::cache::GRAPH_RECORD;
use crate::error::{Error, Result};

#[derive(serde::Serialize)]
struct Record {
    graph: String,
}

/// The cache of one graph.
pub(super) struct ProviderCacheKey {
    root: PathBuf,
    graph: String,
    /// The graph's file or name, for people.
    name: String,
}

impl ProviderCacheKey {
    /// The cache of this graph, with these weights and this ONNX Runtime; `None` if there is no place for one, or the
    /// graph cannot be told from others.
    pub(super) fn of(graph: &GraphSource) -> Option<Self> {
        let mut hasher = DefaultHasher::new();
        ort::info().hash(&mut hasher);
        let mut name = graph.name();
        match graph {
            GraphSource::File(path) => {
                let path = std::path::absolute(path).ok()?;
                hash_file(&path, &mut hasher)?;
                name = path.display().to_string();
            }
            GraphSource::Memory {
                model, external_data, ..
            } => {
                model.as_ref().hash(&mut hasher);
                for (name, data) in external_data {
                    (name, &**data).hash(&mut hasher);
                }
            }
            GraphSource::Repaired { file, model, .. } => {
                hash_file(&std::path::absolute(file).ok()?, &mut hasher)?;
                model.as_ref().hash(&mut hasher);
            }
            GraphSource::Session(_) => return None,
        }
        Some(Self {
            root: crate::cache_dir()?,
            graph: format!("{:016x}", hasher.finish()),
            name,
        })
    }

    pub(super) fn cache(&self) -> ProviderCache<'_> {
        ProviderCache {
            root: &self.root,
            graph: &self.graph,
        }
    }

    /// Says in the folder of what this device's provider makes of the graph, if there is one, which graph it is.
    pub(super) fn describe(&self, device: Device) -> Result<()> {
        let folder = self.cache().graph_folder(device.kind());
        match folder.is_dir() {
            true => describe(&folder, &self.name),
            false => Ok(()),
        }
    }
}

/// Says in a folder, if it does not yet, which graph it is of.
pub(super) fn describe(folder: &Path, graph: &str) -> Result<()> {
    let path = folder.join(GRAPH_RECORD);
    if path.is_file() {
        return Ok(());
    }
    let record = Record {
        graph: graph.to_owned(),
    };
    let json = serde_json::to_vec(&record).map_err(|source| Error::Json {
        path: path.clone(),
        source,
    })?;
    fs::write(&path, json).map_err(Error::io(&path))
}

/// Where a graph's file is, and how long and how old it and the files of its weights are: they may have gigabytes.
fn hash_file(path: &Path, hasher: &mut DefaultHasher) -> Option<()> {
    let file = fs::metadata(path).ok()?;
    (path, file.len(), file.modified().ok()?).hash(hasher);
    let name = path.file_name()?.to_str()?;
    let mut weights: Vec<_> = fs::read_dir(path.parent()?)
        .ok()?
        .flatten()
        .filter(|entry| is_external_data(&entry.file_name().to_string_lossy(), name))
        .filter_map(|entry| {
            // Followed, where it is a link: into a hub's cache, say.
            let file = fs::metadata(entry.path()).ok()?;
            Some((entry.file_name(), file.len(), file.modified().ok()?))
        })
        .collect();
    weights.sort();
    weights.hash(hasher);
    Some(())
}
