//! From an id to a folder from which the model can be loaded.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use florence2_layout::files::WEIGHTS_INDEX;
use florence2_layout::graphs::EXTENSION;
use serde::Deserialize;

use super::cache::RepoCache;
use super::client::Client;
use super::download::Download;
use super::export::{check_export, export};
use super::id::ModelId;
use super::listing::{Listing, RemoteFile};
use super::selection::{Selection, select};
use super::settings::Settings;
use crate::bundle::{Bundle, BundleSource, DtypePreference};
use crate::error::{Error, Result};
use crate::options::LoadOptions;

/// A model in the cache, whole.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Prepared {
    /// Its name.
    pub id: ModelId,
    /// What the revision stands for.
    pub commit: String,
    /// The folder to load it from.
    pub folder: PathBuf,
    /// Its files, as paths inside the repository.
    pub files: Vec<String>,
    /// Bytes fetched just now.
    pub fetched_bytes: u64,
    /// Whether `folder` is an export of the repository's safetensors.
    pub exported: bool,
}

/// Gets a model into the cache, as far as it is not there: the files that loading it with these options takes. A
/// repository without graphs is exported.
///
/// Without network, what is cached is used.
///
/// # Errors
/// [`Error::NotFound`], [`Error::AccessDenied`], [`Error::Network`], [`Error::HttpStatus`],
/// [`Error::CorruptDownload`], [`Error::NoSpace`], [`Error::NotCached`]; [`Error::InvalidBundle`] if the repository
/// holds no model that could be loaded; those of the export.
pub fn prepare(id: &ModelId, options: &LoadOptions) -> Result<Prepared> {
    get(id, options, false)
}

/// The same, with further decoder graphs.
pub(crate) fn prepare_with_alternatives(id: &ModelId, options: &LoadOptions) -> Result<Prepared> {
    get(id, options, true)
}

fn get(id: &ModelId, options: &LoadOptions, alternatives: bool) -> Result<Prepared> {
    let hub = &options.hub;
    let settings = Settings::new(hub)?;
    let dtypes = options.dtypes()?;
    let cache = RepoCache::new(&settings.cache, id);
    let wanted = Wanted {
        dtypes,
        plain: options.session.wants_plain_decoder()?,
        alternatives,
    };
    let cached = || Snapshot::cached(id, &cache, &wanted);
    let snapshot = if settings.offline {
        cached()?
    } else {
        let client = Client::new(id, &settings, hub)?;
        match client.list() {
            Ok(listing) => Snapshot::fetched(id, &listing, &client, &cache, options, &wanted)?,
            Err(error) if is_outage(&error) => {
                let whole = cached().map_err(|_| error)?;
                tracing::warn!(model = %id, commit = whole.commit, "the hub cannot be reached; what is cached is used");
                whole
            }
            Err(error) => return Err(error),
        }
    };
    let folder = cache.snapshot(&snapshot.commit);
    let folder = match snapshot.is_checkpoint {
        true => export(id, &snapshot.commit, &folder, &snapshot.files, options)?,
        false => folder,
    };
    Ok(Prepared {
        id: id.clone(),
        commit: snapshot.commit,
        folder,
        files: snapshot.files,
        fetched_bytes: snapshot.fetched_bytes,
        exported: snapshot.is_checkpoint,
    })
}

/// Whether it is the connection or the hub that fails, rather than the question.
fn is_outage(error: &Error) -> bool {
    match error {
        Error::Network { .. } => true,
        Error::HttpStatus { status, .. } => *status == 429 || *status >= 500,
        _ => false,
    }
}

/// Which of a repository's files are wanted.
struct Wanted {
    dtypes: DtypePreference,
    /// Whether a decoder of the `plain` layout is, where there is another too.
    plain: bool,
    /// Whether further decoder graphs are.
    alternatives: bool,
}

impl Wanted {
    fn select(&self, id: &ModelId, paths: &[String]) -> Result<Selection> {
        select(&id.to_string(), paths, &self.dtypes, self.plain)
    }
}

/// The files of a commit, in the cache.
struct Snapshot {
    commit: String,
    files: Vec<String>,
    fetched_bytes: u64,
    /// Whether they are to be exported.
    is_checkpoint: bool,
}

impl Snapshot {
    /// What the cache has, if that is whole.
    fn cached(id: &ModelId, cache: &RepoCache, wanted: &Wanted) -> Result<Self> {
        let absent = |reason: String| Error::NotCached {
            model: id.to_string(),
            folder: cache.folder().to_owned(),
            reason,
        };
        let commit = cache
            .commit()
            .ok_or_else(|| absent("nothing of it is there".into()))?;
        let folder = cache.snapshot(&commit);
        let present = files_in(&folder);
        if present.is_empty() {
            return Err(absent("nothing of it is there".into()));
        }
        let selection = wanted
            .select(id, &present)
            .map_err(|error| absent(error.to_string()))?;
        if !selection.is_checkpoint() {
            let missing =
                Bundle::open_with(BundleSource::Folder(folder.clone()), wanted.dtypes.clone())?.missing();
            if !missing.is_empty() {
                return Err(absent(format!("missing: {}", missing.join(", "))));
            }
        }
        let mut files = selection.files(wanted.alternatives);
        let data = data_named_in(&folder, &files);
        if let Some(missing) = data.iter().find(|path| !present.contains(path)) {
            return Err(absent(format!("{missing} is missing")));
        }
        files.extend(data);
        if selection.is_sharded() {
            let shards = shards(&folder.join(WEIGHTS_INDEX))?;
            if let Some(missing) = shards.iter().find(|shard| !present.contains(shard)) {
                return Err(absent(format!("{missing} is missing")));
            }
            files.extend(shards);
        }
        Ok(Self {
            commit,
            files,
            fetched_bytes: 0,
            is_checkpoint: selection.is_checkpoint(),
        })
    }

    /// What the hub lists, fetched as far as it was not there.
    fn fetched(
        id: &ModelId,
        listing: &Listing,
        client: &Client,
        cache: &RepoCache,
        options: &LoadOptions,
        wanted: &Wanted,
    ) -> Result<Self> {
        let commit = &listing.commit;
        let remote = |path: &String| -> Result<RemoteFile> {
            match listing.files.get(path) {
                Some(Some(file)) => Ok(file.clone()),
                Some(None) => client.describe(commit, path),
                None => Err(Error::InvalidBundle {
                    path: id.to_string().into(),
                    reason: format!("{WEIGHTS_INDEX} names {path}, which is not in the repository"),
                }),
            }
        };
        let download = Download {
            client,
            cache,
            commit,
            options: &options.hub,
        };
        let listed: Vec<String> = listing.files.keys().cloned().collect();
        let selection = wanted.select(id, &listed)?;
        if selection.is_checkpoint() {
            // Before much is fetched that could not be exported so.
            check_export(options)?;
        }
        let mut files = selection.files(wanted.alternatives);
        let mut fetched_bytes = 0;
        if selection.is_sharded() {
            fetched_bytes += download.run(&[remote(&WEIGHTS_INDEX.to_owned())?])?;
            files.extend(shards(&cache.snapshot(commit).join(WEIGHTS_INDEX))?);
        }
        let remote_files: Vec<RemoteFile> = files.iter().map(remote).collect::<Result<_>>()?;
        fetched_bytes += download.run(&remote_files)?;
        let data = data_named_in(&cache.snapshot(commit), &files);
        let data: Vec<String> = data
            .into_iter()
            .filter(|path| listing.files.contains_key(path))
            .collect();
        let remote_data: Vec<RemoteFile> = data.iter().map(remote).collect::<Result<_>>()?;
        fetched_bytes += download.run(&remote_data)?;
        files.extend(data);
        // Last: what a branch stands for is whole.
        cache.set_commit(commit)?;
        Ok(Self {
            commit: commit.clone(),
            files,
            fetched_bytes,
            is_checkpoint: selection.is_checkpoint(),
        })
    }
}

/// The part of `model.safetensors.index.json` that says which files there are.
#[derive(Deserialize)]
struct ShardIndex {
    weight_map: BTreeMap<String, String>,
}

fn shards(index: &Path) -> Result<BTreeSet<String>> {
    let bytes = fs::read(index).map_err(Error::io(index))?;
    let index: ShardIndex = serde_json::from_slice(&bytes).map_err(|source| Error::Json {
        path: index.to_owned(),
        source,
    })?;
    Ok(index.weight_map.into_values().collect())
}

/// The files of weights that graphs among the files name, and that are none of these: those that are not called as usual.
fn data_named_in(folder: &Path, files: &[String]) -> BTreeSet<String> {
    let source = BundleSource::Folder(folder.to_owned());
    let graphs = files.iter().filter(|file| file.ends_with(EXTENSION));
    let named = graphs.flat_map(|graph| source.named_data(graph));
    named.filter(|path| !files.contains(path)).collect()
}

/// The files below a folder, as paths inside it; links that lead nowhere are none.
pub(super) fn files_in(folder: &Path) -> Vec<String> {
    let mut files = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(inside) = folders.pop() {
        let Ok(entries) = fs::read_dir(folder.join(&inside)) else {
            continue;
        };
        for name in entries.filter_map(|entry| Some(entry.ok()?.file_name())) {
            let path = inside.join(&name);
            match fs::metadata(folder.join(&path)) {
                Ok(found) if found.is_dir() => folders.push(path),
                Ok(_) => files.push(path.to_string_lossy().replace('\\', "/")),
                Err(_) => {}
            }
        }
    }
    files.sort_unstable();
    files
}
