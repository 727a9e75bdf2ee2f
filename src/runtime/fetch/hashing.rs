//! The size and SHA-256 of a file, found while it is written.

use std::io::{self, Write};

use sha2::{Digest, Sha256};

use crate::runtime::cached::Record;

/// Counts and hashes what is written through it to `inner`.
pub(super) struct Hashing<W> {
    pub(super) inner: W,
    size: u64,
    hasher: Sha256,
}

impl<W: Write> Hashing<W> {
    pub(super) fn to(inner: W) -> Self {
        Self {
            inner,
            size: 0,
            hasher: Sha256::new(),
        }
    }

    pub(super) fn finish(self) -> Record {
        Record {
            size: self.size,
            sha256: self
                .hasher
                .finalize()
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
        }
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
