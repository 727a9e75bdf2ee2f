//! A repository's folder in the cache, in the layout of the hub's own tools: `models--org--name` with `blobs` (the files,
//! by checksum), `snapshots` (a folder for each commit, of links to them) and `refs` (the commit of each branch).

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use hf_hub::{Cache, CacheRepo, Repo, RepoType};

use super::api::RemoteFile;
use super::id::{ModelId, is_commit};
use crate::cache::LOCKS;
use crate::error::{Error, Result};

/// The extension of unfinished files.
const UNFINISHED: &str = "incomplete";

/// A repository's folder in the cache.
pub(super) struct RepoCache {
    folder: PathBuf,
    locks: PathBuf,
    id: ModelId,
    repo: CacheRepo,
}

/// Returns `hf-hub`'s repository of an id.
pub(super) fn repo(id: &ModelId, revision: &str) -> Repo {
    Repo::with_revision(id.repository().to_owned(), RepoType::Model, revision.to_owned())
}

impl RepoCache {
    pub(super) fn new(cache: &Path, id: &ModelId) -> Self {
        // Links are relative to the cache; `hf-hub`'s paths are those of the cache, followed by its names.
        let repo = repo(id, id.revision());
        let name = repo.folder_name();
        Self {
            folder: cache.join(&name),
            locks: cache.join(LOCKS).join(name),
            id: id.clone(),
            repo: Cache::new(cache.to_owned()).repo(repo),
        }
    }

    /// The repository's folder.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the path of a file's contents.
    pub(super) fn blob(&self, etag: &str) -> PathBuf {
        self.repo.blob_path(etag)
    }

    /// Returns the path of a file's contents until they are complete.
    pub(super) fn unfinished(&self, etag: &str) -> PathBuf {
        self.repo.blob_path(&format!("{etag}.{UNFINISHED}"))
    }

    /// Returns the folder of a commit's files.
    pub(super) fn snapshot(&self, commit: &str) -> PathBuf {
        self.repo.pointer_path(commit)
    }

    /// Returns the commit of the revision when it was last fetched.
    pub(super) fn commit(&self) -> Option<String> {
        if self.id.is_pinned() {
            return Some(self.id.revision().to_owned());
        }
        let reference = self.folder.join("refs").join(self.id.revision());
        let commit = fs::read_to_string(reference).ok()?;
        Some(commit.trim().to_owned()).filter(|commit| is_commit(commit))
    }

    /// Stores the commit of the revision.
    pub(super) fn set_commit(&self, commit: &str) -> Result<()> {
        if self.commit().as_deref() == Some(commit) {
            return Ok(());
        }
        self.repo.create_ref(commit).map_err(Error::io(&self.folder))
    }

    /// Returns whether a commit's folder has a complete file.
    pub(super) fn has(&self, commit: &str, file: &RemoteFile) -> bool {
        has_size(&self.snapshot(commit).join(&file.path), file.size)
    }

    /// Returns whether the contents of a file are complete.
    pub(super) fn has_blob(&self, file: &RemoteFile) -> bool {
        has_size(&self.blob(&file.etag), file.size)
    }

    /// Links a complete file into the folder of a commit.
    pub(super) fn link(&self, commit: &str, file: &RemoteFile) -> Result<()> {
        let path = self.snapshot(commit).join(&file.path);
        if self.has(commit, file) {
            return Ok(());
        }
        let parent = path.parent().unwrap_or(&self.folder);
        fs::create_dir_all(parent).map_err(Error::io(parent))?;
        // From the file's folder up to the repository's: one `..` for each part of the path, and one for `snapshots`.
        let up: PathBuf = file.path.split('/').map(|_| "..").chain([".."]).collect();
        let target = up.join("blobs").join(&file.etag);
        appear(&path, |path| symlink(&target, path))
            .or_else(|error| {
                // Without symbolic links, a hard link or a copy serves.
                tracing::debug!(%error, path = %path.display(), "no symbolic links here");
                let blob = self.blob(&file.etag);
                appear(&path, |path| fs::hard_link(&blob, path))
                    .or_else(|_| appear(&path, |path| fs::copy(&blob, path).map(drop)))
            })
            .map_err(Error::io(&path))
    }

    /// Locks a file against other processes that fetch it; `waiting` is called if one does.
    pub(super) fn lock(&self, etag: &str, waiting: impl FnOnce()) -> Result<File> {
        crate::fs::lock(&self.locks.join(format!("{etag}.lock")), waiting)
    }
}

/// Returns whether there is a file of this size.
fn has_size(path: &Path, size: u64) -> bool {
    fs::metadata(path).is_ok_and(|file| file.is_file() && file.len() == size)
}

/// Makes a file with `make` and moves it to `path` in one step: another process may be reading the file that is there.
fn appear(path: &Path, make: impl FnMut(&Path) -> io::Result<()>) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let made = tempfile::Builder::new().make_in(folder, make)?;
    made.into_temp_path().persist(path)?;
    Ok(())
}

#[cfg(unix)]
fn symlink(target: &Path, path: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, path)
}

#[cfg(windows)]
fn symlink(target: &Path, path: &Path) -> io::Result<()> {
    std::os::windows::fs::symlink_file(target, path)
}
