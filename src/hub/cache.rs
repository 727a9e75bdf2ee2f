//! A repository's place in the cache, as the hub's own tools lay it out: `models--org--name` with `blobs` (the files,
//! by checksum), `snapshots` (a folder for each commit, of links to them) and `refs` (the commit of each branch).

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use hf_hub::{Cache, CacheRepo, Repo, RepoType};

use super::id::{ModelId, is_commit};
use super::listing::RemoteFile;
use crate::error::{Error, Result};

/// The folder of the lock files.
const LOCKS: &str = ".locks";
/// What unfinished files are called, after the name that they are to have.
const UNFINISHED: &str = "incomplete";

/// A repository's place in the cache.
pub(super) struct RepoCache {
    folder: PathBuf,
    locks: PathBuf,
    id: ModelId,
    repo: CacheRepo,
}

/// The repository of an id, as `hf-hub` has it.
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

    /// The folder of its lock files.
    pub(super) fn locks(&self) -> &Path {
        &self.locks
    }

    /// Where a file is kept.
    pub(super) fn blob(&self, etag: &str) -> PathBuf {
        self.repo.blob_path(etag)
    }

    /// Where a file is kept until it is whole.
    pub(super) fn unfinished(&self, etag: &str) -> PathBuf {
        self.repo.blob_path(&format!("{etag}.{UNFINISHED}"))
    }

    /// The folder of a commit's files.
    pub(super) fn snapshot(&self, commit: &str) -> PathBuf {
        self.repo.pointer_path(commit)
    }

    /// The commit that the revision was when it was last asked for.
    pub(super) fn commit(&self) -> Option<String> {
        if self.id.is_pinned() {
            return Some(self.id.revision().to_owned());
        }
        let reference = self.folder.join("refs").join(self.id.revision());
        let commit = fs::read_to_string(reference).ok()?;
        Some(commit.trim().to_owned()).filter(|commit| is_commit(commit))
    }

    /// Notes what commit the revision is.
    pub(super) fn set_commit(&self, commit: &str) -> Result<()> {
        match self.commit().as_deref() == Some(commit) {
            true => Ok(()),
            false => self.repo.create_ref(commit).map_err(Error::io(&self.folder)),
        }
    }

    /// Whether a whole file is in its place for this commit.
    pub(super) fn has(&self, commit: &str, file: &RemoteFile) -> bool {
        has_size(&self.snapshot(commit).join(&file.path), file.size)
    }

    /// Gives a kept file its name in the folder of a commit.
    pub(super) fn link(&self, commit: &str, file: &RemoteFile) -> Result<()> {
        let path = self.snapshot(commit).join(&file.path);
        if self.has(commit, file) {
            return Ok(());
        }
        let parent = path.parent().unwrap_or(&self.folder);
        fs::create_dir_all(parent).map_err(Error::io(parent))?;
        // From the file's folder up to the repository's: one for each part of its path, and `snapshots`.
        let up: PathBuf = file.path.split('/').map(|_| "..").chain([".."]).collect();
        let target = up.join("blobs").join(&file.etag);
        appear(&path, |path| symlink(&target, path))
            .or_else(|error| {
                // Where links are not allowed, the file has two names, or there are two of it.
                tracing::debug!(%error, path = %path.display(), "no symbolic links here");
                let blob = self.blob(&file.etag);
                appear(&path, |path| fs::hard_link(&blob, path))
                    .or_else(|_| appear(&path, |path| fs::copy(&blob, path).map(drop)))
            })
            .map_err(Error::io(&path))
    }

    /// Waits until no other process fetches this file; the lock is released when the file is closed.
    pub(super) fn lock(&self, etag: &str, waiting: impl FnOnce()) -> Result<File> {
        crate::fs::lock(&self.locks.join(format!("{etag}.lock")), waiting)
    }
}

/// Whether there is a file of this size.
pub(super) fn has_size(path: &Path, size: u64) -> bool {
    fs::metadata(path).is_ok_and(|file| file.is_file() && file.len() == size)
}

/// What `make` makes gets its name when it is whole, in the place of what has it: at no time is there nothing, since another
/// process may have made the same, and be reading it.
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
