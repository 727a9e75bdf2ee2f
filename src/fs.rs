//! Files and folders of the caches: listings, sizes, removal, locks, unfinished work, checksums.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

#[cfg(any(feature = "fetch-runtime", feature = "hub"))]
pub(crate) use work::{lock, move_folder, unfinished_folder};

/// Bytes hashed at a time.
const CHUNK: usize = 1 << 18;

/// Returns the paths in a folder, sorted by name; none if the folder cannot be read.
pub(crate) fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort_unstable();
    paths
}

/// Returns the folders in a folder, sorted by name; none if the folder cannot be read.
pub(crate) fn folders_in(folder: &Path) -> Vec<PathBuf> {
    let mut paths = entries(folder);
    paths.retain(|path| path.is_dir());
    paths
}

/// Returns the files below a folder as sorted paths inside it, with `/` between folders. Links are followed; those that
/// lead nowhere are left out.
#[cfg(feature = "hub")]
pub(crate) fn files_below(folder: &Path) -> Vec<String> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(inner) = folders.pop() {
        for path in entries(&inner) {
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(inside) = path.strip_prefix(folder)
                && path.exists()
            {
                files.push(inside.to_string_lossy().replace('\\', "/"));
            }
        }
    }
    files.sort_unstable();
    files
}

/// Returns the size of all files below a folder in bytes. Links are not followed.
pub(crate) fn size_of_folder(folder: &Path) -> u64 {
    let size = |path: &PathBuf| match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => size_of_folder(path),
        Ok(found) if found.is_file() => found.len(),
        _ => 0,
    };
    entries(folder).iter().map(size).sum()
}

/// Removes a file, or a folder with its contents. Returns `false` if nothing was there.
pub(crate) fn remove(path: &Path) -> Result<bool> {
    let removed = if path.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
    match removed {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::io(path)(error)),
    }
}

/// Returns the SHA-256 of a file in lower-case hexadecimal.
pub(crate) fn sha256(path: &Path) -> io::Result<String> {
    hash(Sha256::new(), File::open(path)?)
}

/// Returns the digest, in lower-case hexadecimal, of the bytes given to `hasher` so far followed by all bytes of
/// `reader`.
pub(crate) fn hash(mut hasher: impl Digest, mut reader: impl Read) -> io::Result<String> {
    let mut chunk = vec![0; CHUNK];
    loop {
        match reader.read(&mut chunk)? {
            0 => break,
            read => hasher.update(chunk.get(..read).unwrap_or_default()),
        }
    }
    Ok(hasher
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

/// Writing to a cache that other processes use at the same time.
#[cfg(any(feature = "fetch-runtime", feature = "hub"))]
mod work {
    use std::fs::{self, File};
    use std::io;
    use std::path::Path;

    use tempfile::TempDir;

    use super::{entries, remove};
    use crate::error::{Error, Result};

    /// The prefix of the names of unfinished folders.
    const UNFINISHED: &str = "unfinished-";

    /// Locks the file at `path`, which is made with its folder if need be. `waiting` is called if another process holds
    /// the lock. The lock is released when the returned file is closed.
    ///
    /// Without file locks (some network file systems have none), two processes may do the same work.
    pub(crate) fn lock(path: &Path, waiting: impl FnOnce()) -> Result<File> {
        let folder = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(Error::io(folder))?;
        let file = File::create(path).map_err(Error::io(path))?;
        let locked = match file.try_lock() {
            Ok(()) => Ok(()),
            Err(fs::TryLockError::WouldBlock) => {
                waiting();
                file.lock()
            }
            Err(fs::TryLockError::Error(error)) => Err(error),
        };
        match locked {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                tracing::warn!(path = %path.display(), "no file locks here: two processes may fetch the same file");
                Ok(file)
            }
            Err(error) => Err(Error::io(path)(error)),
            Ok(()) => Ok(file),
        }
    }

    /// Returns a new temporary folder in `root`, and removes those that killed processes left there. The caller holds the
    /// lock of `root`.
    pub(crate) fn unfinished_folder(root: &Path) -> Result<TempDir> {
        let is_unfinished = |path: &&std::path::PathBuf| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with(UNFINISHED))
        };
        for path in entries(root).iter().filter(is_unfinished) {
            if let Err(error) = remove(path) {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "cannot remove an unfinished folder"
                );
            }
        }
        let folder = tempfile::Builder::new().prefix(UNFINISHED).tempdir_in(root);
        folder.map_err(Error::io(root))
    }

    /// Moves a folder to `to` in one step, in place of the folder that is there.
    pub(crate) fn move_folder(from: &Path, to: &Path) -> Result<()> {
        let parent = to.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(parent).map_err(Error::io(parent))?;
        remove(to)?;
        fs::rename(from, to).map_err(Error::io(to))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_listed_measured_and_removed() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("b");
        fs::create_dir_all(folder.join("inner")).unwrap();
        fs::write(folder.join("inner/file"), [0; 5]).unwrap();
        fs::write(root.path().join("a"), [0; 2]).unwrap();
        assert_eq!(entries(root.path()), [root.path().join("a"), folder.clone()]);
        assert_eq!(folders_in(root.path()).as_slice(), std::slice::from_ref(&folder));
        assert_eq!(size_of_folder(root.path()), 7);
        assert!(remove(&folder).unwrap() && !remove(&folder).unwrap());
        assert!(remove(&root.path().join("a")).unwrap());
        assert!(entries(root.path()).is_empty());
    }

    #[cfg(any(feature = "fetch-runtime", feature = "hub"))]
    #[test]
    fn unfinished_folders_of_killed_processes_are_removed() {
        let root = tempfile::tempdir().unwrap();
        let left = root.path().join("unfinished-1");
        fs::create_dir(&left).unwrap();
        let _lock = lock(&root.path().join(".lock"), || ()).unwrap();
        let new = unfinished_folder(root.path()).unwrap();
        assert!(!left.exists() && new.path().exists());
        fs::write(new.path().join("file"), "hello\n").unwrap();
        let whole = root.path().join("deep/whole");
        move_folder(new.path(), &whole).unwrap();
        // `printf 'hello\n' | sha256sum`
        let hello = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
        assert_eq!(sha256(&whole.join("file")).unwrap(), hello);
    }
}
