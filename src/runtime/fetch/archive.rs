//! Taking one file out of what a client downloaded: a wheel, or an unpacked folder.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use crate::fs::entries;

/// Copies the member of this path from what lies in `dir` to `out`.
///
/// # Errors
/// [`io::ErrorKind::NotFound`] if nothing in `dir` has such a member; else what reading or writing met.
pub(super) fn extract(dir: &Path, member: &str, out: &mut impl Write) -> io::Result<()> {
    let unpacked = dir.join(member);
    if unpacked.is_file() {
        return copy(File::open(unpacked)?, out);
    }
    for path in entries(dir) {
        let is_wheel = path.extension().and_then(OsStr::to_str) == Some("whl");
        if is_wheel && from_zip(File::open(&path)?, member, out)? {
            return Ok(());
        }
    }
    Err(io::Error::new(
        io::ErrorKind::NotFound,
        format!("the package has no file {member}"),
    ))
}

/// Whether the archive has the member, and it was copied.
fn from_zip(archive: File, member: &str, out: &mut impl Write) -> io::Result<bool> {
    let mut archive = zip::ZipArchive::new(archive)?;
    match archive.by_name(member) {
        Ok(file) => copy(file, out).map(|()| true),
        Err(zip::result::ZipError::FileNotFound) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn copy(mut from: impl Read, to: &mut impl Write) -> io::Result<()> {
    io::copy(&mut from, to).map(|_| ())
}
