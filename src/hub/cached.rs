//! The Florence-2 models in the hub's cache.

use std::fs;
use std::path::{Path, PathBuf};

use florence2_layout::dtypes::Dtype;
use florence2_layout::files::CONFIG;
use florence2_layout::graphs::EXTENSION;
use serde_json::Value;

use super::cache::RepoCache;
use super::id::ModelId;
use crate::cache::{CacheContent, CacheEntry};
use crate::error::Result;
use crate::fs::{files_below, folders_in};
use crate::options::hub::HubOptions;

/// The prefix of the folders of models.
const PREFIX: &str = "models--";
/// The separator that replaces `/` in the names of these folders.
const SEPARATOR: &str = "--";

/// Returns the hub's cache folder.
///
/// # Errors
/// [`Error::InvalidOption`](crate::Error::InvalidOption) if no cache folder is set and there is no home folder.
pub fn cache_folder(options: &HubOptions) -> Result<PathBuf> {
    Ok(options.resolve()?.cache)
}

/// Returns the Florence-2 models in the hub's cache, sorted by name. Other models are left out.
///
/// # Errors
/// As [`cache_folder`].
pub fn cached_models(options: &HubOptions) -> Result<Vec<CacheEntry>> {
    let folders = folders_in(&cache_folder(options)?).into_iter();
    let mut models: Vec<CacheEntry> = folders
        .filter_map(|folder| {
            let name = folder.file_name()?.to_str()?.strip_prefix(PREFIX)?;
            let id: ModelId = name.replacen(SEPARATOR, "/", 1).parse().ok()?;
            let is_ours = snapshots(&folder).iter().any(|snapshot| is_florence2(snapshot));
            is_ours.then(|| entry(&id, folder))
        })
        .collect();
    models.sort_by(|a, b| a.repository().cmp(&b.repository()));
    Ok(models)
}

/// Returns a model's entry in the hub's cache, even if the model is incomplete or no Florence-2; `None` if the cache has
/// nothing of its repository.
///
/// # Errors
/// As [`cache_folder`].
pub fn cached_model(id: &ModelId, options: &HubOptions) -> Result<Option<CacheEntry>> {
    let folder = RepoCache::new(&cache_folder(options)?, id).folder().to_owned();
    Ok(folder.is_dir().then(|| entry(id, folder)))
}

/// Returns the folders of a model's commits.
fn snapshots(folder: &Path) -> Vec<PathBuf> {
    folders_in(&folder.join("snapshots"))
}

fn entry(id: &ModelId, folder: PathBuf) -> CacheEntry {
    let files: Vec<String> = snapshots(&folder)
        .iter()
        .flat_map(|snapshot| files_below(snapshot))
        .collect();
    let graphs: Vec<&str> = files
        .iter()
        .filter_map(|file| file.strip_suffix(EXTENSION))
        .collect();
    let suffixed = |graph: &&str, dtype: Dtype| !dtype.suffix().is_empty() && graph.ends_with(dtype.suffix());
    let dtypes = Dtype::BY_PREFERENCE.into_iter().filter(|&dtype| {
        let has_dtype = |graph: &&str| match dtype.suffix() {
            "" => !Dtype::BY_PREFERENCE.iter().any(|&other| suffixed(graph, other)),
            _ => suffixed(graph, dtype),
        };
        graphs.iter().any(has_dtype)
    });
    let content = CacheContent::Model {
        model: id.repository().to_owned(),
        dtypes: dtypes.collect(),
        has_checkpoint: files.iter().any(|file| file.ends_with(".safetensors")),
    };
    CacheEntry::new(content, folder)
}

/// Returns whether the configuration in a folder is Florence-2's.
fn is_florence2(folder: &Path) -> bool {
    let config = fs::read(folder.join(CONFIG)).unwrap_or_default();
    let config: Value = serde_json::from_slice(&config).unwrap_or_default();
    let named = |name: &Value| {
        name.as_str()
            .is_some_and(|name| name.to_lowercase().starts_with("florence2"))
    };
    named(&config["model_type"])
        || config["architectures"]
            .as_array()
            .is_some_and(|names| names.iter().any(named))
}
