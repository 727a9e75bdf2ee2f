//! What the hub's cache holds of Florence-2.

use std::fs;
use std::path::{Path, PathBuf};

use florence2_layout::dtypes::Dtype;
use florence2_layout::files::CONFIG;
use florence2_layout::graphs::EXTENSION;
use serde_json::Value;

use super::cache::RepoCache;
use super::id::ModelId;
use super::options::HubOptions;
use super::prepare::files_in;
use super::settings::Settings;
use crate::error::Result;
use crate::fs::{folders_in, remove, size_of_folder};

/// What the folders of models are called, before their names.
const PREFIX: &str = "models--";
/// What stands in them for `/`.
const SEPARATOR: &str = "--";

/// A Florence-2 model in the hub's cache.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CachedModel {
    /// Its name, with the default revision.
    pub id: ModelId,
    /// Its folder in the cache.
    pub folder: PathBuf,
    /// What that takes on the disk: all commits, and what is unfinished.
    pub bytes: u64,
    /// The types in which there are graphs of it, in any commit.
    pub dtypes: Vec<Dtype>,
    /// Whether there are weights in safetensors, in any commit.
    pub has_checkpoint: bool,
}

/// The hub's cache.
///
/// # Errors
/// [`Error::InvalidOption`](crate::Error::InvalidOption) if there is no home folder and no other is set.
pub fn cache_folder(options: &HubOptions) -> Result<PathBuf> {
    Ok(Settings::new(options)?.cache)
}

/// The Florence-2 models in the hub's cache, in the order of their names; others are not shown.
///
/// # Errors
/// As [`cache_folder`].
pub fn cached_models(options: &HubOptions) -> Result<Vec<CachedModel>> {
    let cache = cache_folder(options)?;
    let mut models: Vec<CachedModel> = folders_in(&cache).into_iter().filter_map(model).collect();
    models.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(models)
}

/// What the cache has of a model that is named: of any kind, and if it is unfinished too.
///
/// # Errors
/// As [`cache_folder`].
pub fn cached_model(id: &ModelId, options: &HubOptions) -> Result<Option<CachedModel>> {
    let cache = RepoCache::new(&cache_folder(options)?, id);
    let folder = cache.folder().to_owned();
    Ok(folder.is_dir().then(|| described(id.clone(), folder)))
}

/// Removes a model, all of its commits, from the hub's cache; whether it was there.
///
/// # Errors
/// As [`cache_folder`]; [`Error::Io`](crate::Error::Io) if it cannot be removed.
pub fn remove_model(id: &ModelId, options: &HubOptions) -> Result<bool> {
    let cache = RepoCache::new(&cache_folder(options)?, id);
    let was_there = remove(cache.folder())?;
    remove(cache.locks())?;
    Ok(was_there)
}

/// The model in a folder of the cache, if it is Florence-2.
fn model(folder: PathBuf) -> Option<CachedModel> {
    let name = folder.file_name()?.to_str()?.strip_prefix(PREFIX)?;
    let id = name.replacen(SEPARATOR, "/", 1).parse().ok()?;
    let is_ours = snapshots(&folder).iter().any(|snapshot| is_florence2(snapshot));
    is_ours.then(|| described(id, folder))
}

/// The folders of a model's commits.
fn snapshots(folder: &Path) -> Vec<PathBuf> {
    folders_in(&folder.join("snapshots"))
}

/// What is in a model's folder.
fn described(id: ModelId, folder: PathBuf) -> CachedModel {
    let snapshots = snapshots(&folder);
    let files: Vec<String> = snapshots.iter().flat_map(|snapshot| files_in(snapshot)).collect();
    let graphs: Vec<&str> = files
        .iter()
        .filter_map(|file| file.strip_suffix(EXTENSION))
        .collect();
    let dtypes = Dtype::BY_PREFERENCE.into_iter().filter(|&dtype| {
        let of = |graph: &&str| match dtype.suffix() {
            "" => !Dtype::BY_PREFERENCE
                .iter()
                .any(|other| *other != dtype && graph.ends_with(other.suffix())),
            suffix => graph.ends_with(suffix),
        };
        graphs.iter().any(of)
    });
    CachedModel {
        id,
        bytes: size_of_folder(&folder),
        dtypes: dtypes.collect(),
        has_checkpoint: files.iter().any(|file| file.ends_with(".safetensors")),
        folder,
    }
}

/// Whether the configuration in a folder is Florence-2's.
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
