//! Files that appear under their name only when they are complete.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::error::{Error, Result};

/// A temporary file beside `path`, which [`commit`](AtomicFile::commit) renames. If dropped before that, it is removed.
pub(crate) struct AtomicFile {
    path: PathBuf,
    file: BufWriter<NamedTempFile>,
}

impl AtomicFile {
    /// Writes a complete file.
    pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
        let mut file = AtomicFile::create(path)?;
        file.write_with(|file| file.write_all(bytes))?;
        file.commit()
    }

    pub(crate) fn create(path: &Path) -> Result<Self> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(".").suffix(".partial");
        // The permissions of any new file; tempfile's own default is for the owner only.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let folder = path.parent().filter(|folder| *folder != Path::new(""));
        let file = builder.tempfile_in(folder.unwrap_or(Path::new(".")));
        Ok(AtomicFile {
            path: path.into(),
            file: BufWriter::new(file.map_err(Error::write(path))?),
        })
    }

    /// Writes a file by calling `write` on it; returns the result of `write`.
    pub(crate) fn write_with<T>(
        &mut self,
        write: impl FnOnce(&mut BufWriter<NamedTempFile>) -> io::Result<T>,
    ) -> Result<T> {
        write(&mut self.file).map_err(Error::write(&self.path))
    }

    /// Renames the file to its path.
    pub(crate) fn commit(self) -> Result<()> {
        let file = self.file.into_inner().map_err(io::IntoInnerError::into_error);
        let persisted = file.and_then(|file| Ok(file.persist(&self.path)?));
        persisted.map(drop).map_err(Error::write(&self.path))
    }
}
