//! Where results go: standard output, or a file that is replaced whole or not at all.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use tempfile::{Builder, NamedTempFile};

use crate::error::{Error, Result};

/// A file, or `-` for a standard stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// `-`.
    Stdout,
    /// Anything else.
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
    writer: Writer,
}

enum Writer {
    Stdout(BufWriter<anstream::AutoStream<io::Stdout>>),
    /// A regular file in the making.
    Replacement {
        path: PathBuf,
        file: BufWriter<NamedTempFile>,
    },
    /// A pipe or a device: nothing to replace.
    Direct {
        path: PathBuf,
        file: BufWriter<File>,
    },
}

impl Destination {
    /// Opens a target. A file keeps its present contents until [`commit`](Self::commit).
    pub fn open(target: &Target) -> Result<Self> {
        let writer = match target {
            Target::Stdout => Writer::Stdout(BufWriter::new(anstream::stdout())),
            Target::File(path) if is_special(path) => {
                let file = OpenOptions::new()
                    .write(true)
                    .open(path)
                    .map_err(Error::io(path))?;
                Writer::Direct {
                    path: path.clone(),
                    file: BufWriter::new(file),
                }
            }
            Target::File(path) => {
                if path.is_dir() {
                    return Err(Error::Usage(format!(
                        "{}: is a folder; name a file in it",
                        path.display()
                    )));
                }
                // The file that a link leads to is replaced, not the link.
                let path = fs::canonicalize(path).unwrap_or_else(|_| path.clone());
                let file = unfinished(&path).map_err(Error::io(&path))?;
                Writer::Replacement {
                    path,
                    file: BufWriter::new(file),
                }
            }
        };
        Ok(Self { writer })
    }

    /// Writes text; styles in it are for a terminal only.
    pub fn write(&mut self, text: &str) -> Result<()> {
        match &mut self.writer {
            Writer::Stdout(out) => out.write_all(text.as_bytes()).map_err(Error::stdout),
            Writer::Replacement { path, file } => plain(file, text).map_err(Error::io(path.as_path())),
            Writer::Direct { path, file } => plain(file, text).map_err(Error::io(path.as_path())),
        }
    }

    /// Hands on what is written so far.
    pub fn flush(&mut self) -> Result<()> {
        match &mut self.writer {
            Writer::Stdout(out) => out.flush().map_err(Error::stdout),
            Writer::Replacement { path, file } => file.flush().map_err(Error::io(path.as_path())),
            Writer::Direct { path, file } => file.flush().map_err(Error::io(path.as_path())),
        }
    }

    /// Puts the file in its place. Without this call it stays as it was.
    pub fn commit(mut self) -> Result<()> {
        self.flush()?;
        let Writer::Replacement { path, file } = self.writer else {
            return Ok(());
        };
        let file = file
            .into_inner()
            .map_err(|error| Error::io(&path)(error.into_error()))?;
        file.persist(&path)
            .map_err(|error| Error::io(&path)(error.error))?;
        Ok(())
    }
}

/// Writes `text` to stdout.
pub fn print(text: &str) -> Result<()> {
    let mut out = Destination::open(&Target::Stdout)?;
    out.write(text)?;
    out.commit()
}

/// Writes bytes to a file, whole or not at all.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || -> io::Result<()> {
        if is_special(path) {
            return OpenOptions::new().write(true).open(path)?.write_all(bytes);
        }
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let mut file = unfinished(&path)?;
        file.write_all(bytes)?;
        file.persist(&path).map_err(|error| error.error)?;
        Ok(())
    };
    write().map_err(Error::io(path))
}

fn plain(file: &mut impl Write, text: &str) -> io::Result<()> {
    write!(file, "{}", anstream::adapter::strip_str(text))
}

/// Whether something other than a file or folder is there already.
fn is_special(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir())
}

/// A file beside `path` that can take its place.
fn unfinished(path: &Path) -> io::Result<NamedTempFile> {
    let dir = match path.parent() {
        Some(dir) if dir != Path::new("") => dir,
        _ => Path::new("."),
    };
    let mut builder = Builder::new();
    builder.prefix(".florence2-");
    // As for any new file; the default is for the owner's eyes only.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(dir)
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
    fn links_are_followed_and_devices_left_alone() {
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
