//! Files that appear under their name only when they are whole.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// A file that is written under another name beside its own, and renamed by [`commit`](AtomicFile::commit).
/// Dropped before that, it leaves nothing behind.
pub(crate) struct AtomicFile {
    path: PathBuf,
    temporary: PathBuf,
    /// `None` once committed.
    file: Option<BufWriter<File>>,
    position: u64,
}

impl AtomicFile {
    /// A whole small file.
    pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
        let mut file = AtomicFile::create(path)?;
        file.write_with(|file| file.write_all(bytes))?;
        file.commit()
    }

    pub(crate) fn create(path: &Path) -> Result<Self> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // Two processes that write the same file at once must not share the temporary one.
        let temporary = path.with_file_name(format!(".{name}.{}.partial", std::process::id()));
        let file = File::create(&temporary).map_err(|source| Error::Write {
            path: path.into(),
            source,
        })?;
        Ok(AtomicFile {
            path: path.into(),
            temporary,
            file: Some(BufWriter::new(file)),
            position: 0,
        })
    }

    /// Bytes written so far.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Writes through `write`.
    pub(crate) fn write_with(&mut self, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        let mut counting = Counting {
            file,
            position: &mut self.position,
        };
        write(&mut counting).map_err(|source| Error::Write {
            path: self.path.clone(),
            source,
        })
    }

    /// Zeros up to the next multiple of `alignment`; gives the position there.
    pub(crate) fn pad_to(&mut self, alignment: u64) -> Result<u64> {
        let padding = self.position.next_multiple_of(alignment) - self.position;
        self.write_with(|file| io::copy(&mut io::Read::take(io::repeat(0), padding), file).map(drop))?;
        Ok(self.position)
    }

    /// Gives the file its name.
    pub(crate) fn commit(mut self) -> Result<()> {
        let failed = |source| Error::Write {
            path: self.path.clone(),
            source,
        };
        if let Some(file) = self.file.take() {
            let written = file
                .into_inner()
                .map_err(io::IntoInnerError::into_error)
                .map(drop);
            if let Err(source) = written.and_then(|()| std::fs::rename(&self.temporary, &self.path)) {
                let error = failed(source);
                // The rename's own error matters; that of the clean-up does not.
                let _ = std::fs::remove_file(&self.temporary);
                return Err(error);
            }
        }
        Ok(())
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            // Nobody is left to be told.
            let _ = std::fs::remove_file(&self.temporary);
        }
    }
}

struct Counting<'f> {
    file: &'f mut BufWriter<File>,
    position: &'f mut u64,
}

impl Write for Counting<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        *self.position += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
