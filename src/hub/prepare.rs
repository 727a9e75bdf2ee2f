//! From a model id to a folder to load the model from.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use florence2_layout::files::{ADAPTER_CONFIG, INDEX_SUFFIX, NAMES};
use florence2_layout::graphs::EXTENSION;
use serde::Deserialize;

use super::api::{Api, Listing, RemoteFile};
use super::cache::RepoCache;
use super::export::{check_export, export};
use super::id::ModelId;
use super::selection::{Form, select, select_adapter};
use super::transfer::Download;
use crate::bundle::{Bundle, BundleSource, DtypePreference, is_adapter};
use crate::error::{Error, Result};
use crate::fs::files_below;
use crate::options::LoadOptions;

/// A complete model in the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Prepared {
    /// The model's id, as it was asked for.
    pub id: ModelId,
    /// The commit of the id's revision.
    pub commit: String,
    /// The folder to load the model from.
    pub folder: PathBuf,
    /// The fetched files, as paths inside the repository, or inside its sub-folder if one was asked for.
    pub files: Vec<String>,
    /// The number of bytes that this call downloaded.
    pub fetched_bytes: u64,
    /// Whether `folder` is an export of the repository's checkpoint.
    pub exported: bool,
}

/// Fetches the files needed to load a model with these options, unless they are cached. A repository without graphs
/// is exported. If the hub cannot be reached, the cached commit is used, with a warning.
///
/// # Errors
/// [`Error::NotFound`], [`Error::AccessDenied`], [`Error::Network`], [`Error::HttpStatus`],
/// [`Error::CorruptDownload`], [`Error::NoSpace`], [`Error::NotCached`]; [`Error::InvalidBundle`] if the repository
/// has no complete model; errors of the export.
pub fn prepare(id: &ModelId, options: &LoadOptions) -> Result<Prepared> {
    prepare_files(id, options, false)
}

/// As [`prepare`], with the decoder graphs to fall back to if `alternatives` is set.
pub(crate) fn prepare_files(id: &ModelId, options: &LoadOptions, alternatives: bool) -> Result<Prepared> {
    let found = fetch(id, options, Form::Model, alternatives)?;
    if !found.exported {
        return Ok(found);
    }
    let folder = export(id, &found.commit, &found.folder, &found.files, options)?;
    Ok(Prepared { folder, ..found })
}

/// Fetches the checkpoint of a repository, unless it is cached, without exporting it.
///
/// # Errors
/// As [`prepare`].
pub fn fetch_checkpoint(id: &ModelId, options: &LoadOptions) -> Result<Prepared> {
    let found = fetch(id, options, Form::Checkpoint, false)?;
    Ok(Prepared {
        exported: false,
        ..found
    })
}

/// Fetches the PEFT adapter of a repository, unless it is cached.
///
/// # Errors
/// [`Error::NoAdapter`] if it has none; as [`prepare`].
pub fn fetch_adapter(id: &ModelId, options: &LoadOptions) -> Result<Prepared> {
    fetch(id, options, Form::Adapter, false)
}

/// Fetches files of a repository, unless they are cached. If `exported` is set in the result, the caller must export them.
fn fetch(id: &ModelId, options: &LoadOptions, form: Form, alternatives: bool) -> Result<Prepared> {
    let hub = options.hub.resolve()?;
    let cache = RepoCache::new(&hub.cache, id);
    let wanted = Wanted {
        id,
        form,
        dtypes: options.dtypes()?,
        plain: options.session.wants_plain_decoder()?,
        alternatives,
        options,
    };
    if hub.offline {
        return cached(&cache, &wanted);
    }
    let api = Api::new(id, &hub, options.hub.stall)?;
    match api.list() {
        Ok(listing) => fetched(&api, &listing, &cache, &wanted),
        Err(error) if is_outage(&error) => {
            let found = cached(&cache, &wanted).map_err(|_| error)?;
            tracing::warn!(model = %id, commit = found.commit, "the hub cannot be reached; the cached commit is used");
            Ok(found)
        }
        Err(error) => Err(error),
    }
}

/// Returns whether the error is a failure of the hub or the connection, not of the request.
fn is_outage(error: &Error) -> bool {
    match error {
        Error::Network { .. } => true,
        Error::HttpStatus { status, .. } => *status == 429 || *status >= 500,
        _ => false,
    }
}

/// A model to fetch, and the choice of its files.
struct Wanted<'a> {
    id: &'a ModelId,
    form: Form,
    dtypes: DtypePreference,
    /// Whether the plain decoder is preferred.
    plain: bool,
    /// Whether to include the decoder graphs to fall back to.
    alternatives: bool,
    options: &'a LoadOptions,
}

impl Wanted<'_> {
    fn not_listed(&self, path: &str) -> Error {
        Error::IncompleteModel {
            path: self.id.to_string().into(),
            missing: vec![format!(
                "{path} (to which the graphs or the index of its weights refer)"
            )],
            found: Vec::new(),
        }
    }
}

/// A commit of a repository, on the hub or in the cache.
trait Commit {
    /// Returns the paths of all files.
    fn files(&self) -> Vec<String>;

    /// Fetches files into the commit's folder in the cache. Returns the number of bytes fetched.
    fn get(&self, paths: &[String]) -> Result<u64>;
}

/// A folder of a commit, whose files have paths inside the folder.
struct Subfolder<'a, C> {
    commit: &'a C,
    /// The folder's path with a final `/`; empty for the commit itself.
    prefix: String,
}

impl<'a, C: Commit> Subfolder<'a, C> {
    /// Returns the wanted folder of a commit, which must have files.
    fn new(commit: &'a C, subfolder: Option<&str>) -> Result<Self> {
        let path = subfolder.unwrap_or_default().trim_matches('/');
        let prefix = if path.is_empty() {
            String::new()
        } else {
            format!("{path}/")
        };
        let inside = Subfolder { commit, prefix };
        // Paths in listings have no `..`.
        if inside.files().is_empty() && !path.is_empty() {
            return Err(Error::InvalidOption {
                name: "subfolder",
                reason: format!("the repository has no folder {path}"),
            });
        }
        Ok(inside)
    }
}

impl<C: Commit> Commit for Subfolder<'_, C> {
    fn files(&self) -> Vec<String> {
        let files = self.commit.files().into_iter();
        let inside = files.filter_map(|file| file.strip_prefix(&self.prefix).map(str::to_owned));
        inside.collect()
    }

    fn get(&self, paths: &[String]) -> Result<u64> {
        let paths: Vec<String> = paths
            .iter()
            .map(|path| format!("{}{path}", self.prefix))
            .collect();
        self.commit.get(&paths)
    }
}

/// Fetches the wanted files of a commit into `folder`. If `exported` is set in the result, the caller must export
/// them.
fn collect(commit: &impl Commit, hash: &str, folder: PathBuf, wanted: &Wanted<'_>) -> Result<Prepared> {
    let commit = &Subfolder::new(commit, wanted.options.hub.subfolder.as_deref())?;
    let folder = match commit.prefix.strip_suffix('/') {
        Some(inside) => folder.join(inside),
        None => folder,
    };
    let listed = commit.files();
    let mut fetched_bytes = 0;
    if listed.iter().any(|file| file == NAMES) {
        fetched_bytes += commit.get(&[NAMES.to_owned()])?;
    }
    let names = match &wanted.options.names {
        Some(names) => names.clone(),
        None => BundleSource::Folder(folder.clone()).names()?,
    };
    let name = wanted.id.to_string();
    let selection = match wanted.form {
        Form::Adapter => select_adapter(&name, &listed),
        form => select(&name, &listed, &wanted.dtypes, wanted.plain, names, form),
    };
    let selection = match selection {
        Err(Error::NoGraphs { .. }) if listed.iter().any(|file| file == ADAPTER_CONFIG) => {
            commit.get(&[ADAPTER_CONFIG.to_owned()])?;
            let config = BundleSource::Folder(folder).read_json(ADAPTER_CONFIG)?;
            return Err(is_adapter(name, &config.unwrap_or_default()));
        }
        selection => selection?,
    };
    if selection.is_checkpoint && wanted.form == Form::Model {
        // Checked before gigabytes are fetched that cannot be exported.
        check_export(wanted.options)?;
    }
    let mut files = selection.files;
    if wanted.alternatives {
        files.extend(selection.alternatives);
    }
    if let Some(index) = files.iter().find(|file| file.ends_with(INDEX_SUFFIX)).cloned() {
        fetched_bytes += commit.get(std::slice::from_ref(&index))?;
        files.extend(shards(&folder.join(index))?);
    }
    fetched_bytes += commit.get(&files)?;
    let data = external_data(&folder, &files);
    fetched_bytes += commit.get(&data)?;
    files.extend(data);
    Ok(Prepared {
        id: wanted.id.clone(),
        commit: hash.to_owned(),
        folder,
        files,
        fetched_bytes,
        exported: selection.is_checkpoint,
    })
}

/// Fetches the wanted files of the listed commit that are not cached.
fn fetched(api: &Api, listing: &Listing, cache: &RepoCache, wanted: &Wanted<'_>) -> Result<Prepared> {
    let commit = RemoteCommit {
        api,
        listing,
        cache,
        wanted,
    };
    let prepared = collect(&commit, &listing.commit, cache.snapshot(&listing.commit), wanted)?;
    // Stored after the files, so that a branch always refers to a complete commit.
    cache.set_commit(&listing.commit)?;
    Ok(prepared)
}

struct RemoteCommit<'a> {
    api: &'a Api,
    listing: &'a Listing,
    cache: &'a RepoCache,
    wanted: &'a Wanted<'a>,
}

impl Commit for RemoteCommit<'_> {
    fn files(&self) -> Vec<String> {
        self.listing.files.keys().cloned().collect()
    }

    fn get(&self, paths: &[String]) -> Result<u64> {
        let commit = &self.listing.commit;
        let remote = |path: &String| match self.listing.files.get(path) {
            Some(Some(file)) => Ok(file.clone()),
            Some(None) => self.api.describe(commit, path),
            None => Err(self.wanted.not_listed(path)),
        };
        let files: Vec<RemoteFile> = paths.iter().map(remote).collect::<Result<_>>()?;
        Download::new(self.api, self.cache, commit, &self.wanted.options.hub).run(&files)
    }
}

/// Returns the cached commit if it is complete.
fn cached(cache: &RepoCache, wanted: &Wanted<'_>) -> Result<Prepared> {
    let not_cached = |reason: String| Error::NotCached {
        model: wanted.id.to_string(),
        folder: cache.folder().to_owned(),
        reason,
    };
    let hash = cache.commit().unwrap_or_default();
    let folder = cache.snapshot(&hash);
    let files = if hash.is_empty() {
        Vec::new()
    } else {
        files_below(&folder)
    };
    if files.is_empty() {
        return Err(not_cached("none of its files is cached".into()));
    }
    let commit = CachedCommit { files, wanted };
    let prepared = collect(&commit, &hash, folder, wanted).map_err(|error| match error {
        Error::IncompleteModel { missing, .. }
        | Error::DtypeNotFound { missing, .. }
        | Error::NoGraphs { missing, .. } => not_cached(format!("missing: {}", missing.join(", "))),
        error => error,
    })?;
    if !prepared.exported && wanted.form == Form::Model {
        let source = BundleSource::Folder(prepared.folder.clone());
        let missing =
            Bundle::open_with(source, wanted.dtypes.clone(), wanted.options.names.clone())?.missing();
        if !missing.is_empty() {
            return Err(not_cached(format!("missing: {}", missing.join(", "))));
        }
    }
    Ok(prepared)
}

struct CachedCommit<'a> {
    files: Vec<String>,
    wanted: &'a Wanted<'a>,
}

impl Commit for CachedCommit<'_> {
    fn files(&self) -> Vec<String> {
        self.files.clone()
    }

    fn get(&self, paths: &[String]) -> Result<u64> {
        match paths.iter().find(|path| !self.files.contains(path)) {
            Some(missing) => Err(self.wanted.not_listed(missing)),
            None => Ok(0),
        }
    }
}

/// Returns the files of weights that an index names.
fn shards(index: &Path) -> Result<BTreeSet<String>> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let bytes = fs::read(index).map_err(Error::io(index))?;
    let index: Index = serde_json::from_slice(&bytes).map_err(|source| Error::Json {
        path: index.to_owned(),
        source,
    })?;
    Ok(index.weight_map.into_values().collect())
}

/// Returns the external data files that graphs in `files` name and `files` lacks.
fn external_data(folder: &Path, files: &[String]) -> Vec<String> {
    let source = BundleSource::Folder(folder.to_owned());
    let graphs = files.iter().filter(|file| file.ends_with(EXTENSION));
    let named: BTreeSet<String> = graphs.flat_map(|graph| source.named_data(graph)).collect();
    named.into_iter().filter(|path| !files.contains(path)).collect()
}
