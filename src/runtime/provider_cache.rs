//! Where execution providers keep what they make of graphs: `providers/<device>/<key of the graph>` in our cache folder.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use florence2_layout::graphs::is_external_data;

use super::device::ProviderCache;
use super::session::GraphSource;

/// The cache of one graph.
pub(super) struct ProviderCacheKey {
    root: PathBuf,
    graph: String,
}

impl ProviderCacheKey {
    /// The cache of this graph, with these weights and this ONNX Runtime; `None` if there is no place for one, or the
    /// graph cannot be told from others.
    pub(super) fn of(graph: GraphSource<'_>) -> Option<Self> {
        let mut hasher = DefaultHasher::new();
        ort::info().hash(&mut hasher);
        match graph {
            GraphSource::File(path) => hash_file(path, &mut hasher)?,
            GraphSource::Bytes {
                bytes, external_data, ..
            } => {
                bytes.hash(&mut hasher);
                for (name, data) in external_data {
                    (name, &**data).hash(&mut hasher);
                }
            }
        }
        Some(Self {
            root: crate::cache_dir()?,
            graph: format!("{:016x}", hasher.finish()),
        })
    }

    pub(super) fn cache(&self) -> ProviderCache<'_> {
        ProviderCache {
            root: &self.root,
            graph: &self.graph,
        }
    }
}

/// Where a graph's file is, and how long and how old it and the files of its weights are: they may have gigabytes.
fn hash_file(path: &Path, hasher: &mut DefaultHasher) -> Option<()> {
    let path = std::path::absolute(path).ok()?;
    let file = fs::metadata(&path).ok()?;
    (&path, file.len(), file.modified().ok()?).hash(hasher);
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
