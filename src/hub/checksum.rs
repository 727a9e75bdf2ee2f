//! The two ways in which a hub says what a file holds.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sha1::Sha1;
use sha2::{Digest, Sha256};

/// How much is hashed at a time.
const CHUNK: usize = 1 << 18;

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
        let mut file = File::open(path)?;
        Ok(match self {
            Checksum::Sha256(expected) => hash(Sha256::new(), &mut file)? == *expected,
            Checksum::GitBlob(expected) => {
                let header = format!("blob {}\0", file.metadata()?.len());
                hash(Sha1::new().chain_update(header), &mut file)? == *expected
            }
        })
    }
}

/// The SHA-256 of a file.
pub(super) fn sha256(path: &Path) -> io::Result<String> {
    hash(Sha256::new(), &mut File::open(path)?)
}

/// The SHA-256 of a text.
pub(super) fn sha256_of_text(text: &str) -> String {
    hexadecimal(&Sha256::digest(text.as_bytes()))
}

fn hash(mut hasher: impl Digest, file: &mut File) -> io::Result<String> {
    let mut chunk = vec![0; CHUNK];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(hexadecimal(&hasher.finalize())),
            read => hasher.update(chunk.get(..read).unwrap_or_default()),
        }
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
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
