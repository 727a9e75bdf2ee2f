//! The two ways in which a hub says what a file holds.

use std::fs::File;
use std::io;
use std::path::Path;

use sha1::Sha1;
use sha2::Digest;

use crate::fs::{hash, sha256};

/// A file's checksum, in lower case hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Checksum {
    /// SHA-256, of big files.
    Sha256(String),
    /// git's name for it, of small files: SHA-1 over a header with its length, and the file.
    GitBlob(String),
}

impl Checksum {
    /// Whether a file holds this.
    pub(super) fn matches(&self, path: &Path) -> io::Result<bool> {
        Ok(match self {
            Checksum::Sha256(expected) => sha256(path)? == *expected,
            Checksum::GitBlob(expected) => {
                let file = File::open(path)?;
                let header = format!("blob {}\0", file.metadata()?.len());
                hash(Sha1::new().chain_update(header), file)? == *expected
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_sha256sum_and_git() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "hello\n").unwrap();
        // `printf 'hello\n' | git hash-object --stdin`
        let git = Checksum::GitBlob("ce013625030ba8dba906f756967f9e9ca394464a".into());
        // `printf 'hello\n' | sha256sum`
        let sha256 =
            Checksum::Sha256("5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03".into());
        assert!(git.matches(&path).unwrap() && sha256.matches(&path).unwrap());
        std::fs::write(&path, "hello").unwrap();
        assert!(!git.matches(&path).unwrap() && !sha256.matches(&path).unwrap());
    }
}
