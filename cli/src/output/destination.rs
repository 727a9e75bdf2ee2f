//! Destinations of results: standard output, or a file that is replaced in one step.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use tempfile::{Builder, NamedTempFile, TempPath};

use crate::error::{Error, Result};

/// A file, or `-` for a standard stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// `-`.
    Stdout,
    /// A path.
    File(PathBuf),
}

impl From<OsString> for Target {
    fn from(name: OsString) -> Self {
        match name.to_str() {
            Some("-") => Target::Stdout,
            _ => Target::File(name.into()),
        }
    }
}

/// An open [`Target`].
pub struct Destination {
    /// `None` for stdout.
    path: Option<PathBuf>,
    out: Box<dyn Write>,
    /// The file that [`commit`](Self::commit) moves to `path`; `None` for stdout, pipes and devices.
    temporary: Option<Temporary>,
}

/// The temporary files of open destinations, for [`remove_temporaries`].
static TEMPORARIES: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// A temporary file in [`TEMPORARIES`].
struct Temporary(Option<TempPath>);

impl Temporary {
    fn new(path: TempPath) -> Self {
        let mut open = TEMPORARIES.lock().unwrap_or_else(PoisonError::into_inner);
        open.push(path.to_path_buf());
        Self(Some(path))
    }

    /// Moves the file to `path`.
    fn persist(mut self, path: &Path) -> io::Result<()> {
        match self.forget() {
            Some(temporary) => temporary.persist(path).map_err(|error| error.error),
            None => Ok(()),
        }
    }

    fn forget(&mut self) -> Option<TempPath> {
        let path = self.0.take()?;
        let mut open = TEMPORARIES.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|other| *other != *path);
        Some(path)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        self.forget();
    }
}

/// Removes the temporary files of open destinations, before the program exits without dropping them.
pub fn remove_temporaries() {
    let open = TEMPORARIES.lock().unwrap_or_else(PoisonError::into_inner);
    for path in &*open {
        // Nothing can be done about a file that stays.
        let _ = fs::remove_file(path);
    }
}

impl Destination {
    /// Opens a target. A file keeps its contents until [`commit`](Self::commit).
    pub fn open(target: &Target) -> Result<Self> {
        let Target::File(path) = target else {
            return Ok(Self {
                path: None,
                out: Box::new(BufWriter::new(anstream::stdout())),
                temporary: None,
            });
        };
        if path.is_dir() {
            return Err(Error::Usage(format!(
                "{}: is a folder; name a file in it",
                path.display()
            )));
        }
        // The target of a link is replaced, not the link.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.clone());
        let (file, temporary) = if is_special(&path) {
            let file = OpenOptions::new().write(true).open(&path);
            (file.map_err(Error::io(&path))?, None)
        } else {
            let (file, temporary) = temporary_file(&path).map_err(Error::io(&path))?.into_parts();
            (file, Some(Temporary::new(temporary)))
        };
        Ok(Self {
            path: Some(path),
            out: Box::new(BufWriter::new(file)),
            temporary,
        })
    }

    /// Writes text. Its styles are removed unless it goes to a terminal.
    pub fn write(&mut self, text: &str) -> Result<()> {
        if self.path.is_some() {
            let plain = anstream::adapter::strip_str(text).to_string();
            self.write_bytes(plain.as_bytes())
        } else {
            self.write_bytes(text.as_bytes())
        }
    }

    /// Writes bytes. Styles in them are removed if stdout is not a terminal.
    pub fn write_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes).map_err(|error| self.failed(error))
    }

    /// Flushes the text written so far.
    pub fn flush(&mut self) -> Result<()> {
        self.out.flush().map_err(|error| self.failed(error))
    }

    /// Moves the file to its path.
    pub fn commit(mut self) -> Result<()> {
        self.flush()?;
        if let (Some(temporary), Some(path)) = (self.temporary.take(), &self.path) {
            temporary.persist(path).map_err(|error| self.failed(error))?;
        }
        Ok(())
    }

    fn failed(&self, error: io::Error) -> Error {
        match &self.path {
            Some(path) => Error::io(path)(error),
            None => Error::stdout(error),
        }
    }
}

/// Writes `text` to stdout.
pub fn print(text: &str) -> Result<()> {
    let mut out = Destination::open(&Target::Stdout)?;
    out.write(text)?;
    out.commit()
}

/// Writes a complete file.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut out = Destination::open(&Target::File(path.to_owned()))?;
    out.write_bytes(bytes)?;
    out.commit()
}

/// Returns whether a path is a pipe or a device.
fn is_special(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir())
}

/// Returns a temporary file in the folder of `path`.
fn temporary_file(path: &Path) -> io::Result<NamedTempFile> {
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    let mut builder = Builder::new();
    builder.prefix(".florence2-");
    // The permissions of any new file; tempfile's own default is for the owner only.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(folder.unwrap_or(Path::new(".")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_only_by_commit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.txt");
        fs::write(&path, "before").unwrap();

        let mut abandoned = Destination::open(&Target::File(path.clone())).unwrap();
        abandoned.write("half").unwrap();
        abandoned.flush().unwrap();
        drop(abandoned);
        assert_eq!(fs::read_to_string(&path).unwrap(), "before");

        let mut done = Destination::open(&Target::File(path.clone())).unwrap();
        done.write("\u{1b}[1mafter\u{1b}[0m").unwrap();
        done.commit().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "after");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_and_devices_written_to() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        fs::write(&file, "before").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        write_file(&link, b"after").unwrap();
        assert!(link.is_symlink());
        assert_eq!(fs::read_to_string(&file).unwrap(), "after");

        write_file(Path::new("/dev/null"), b"gone").unwrap();
        assert!(is_special(Path::new("/dev/null")));
    }
}
