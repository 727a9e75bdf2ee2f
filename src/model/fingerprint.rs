//! The identity of a vision encoder: of whose image features a language model can make sense.

use std::path::Path;
use std::sync::OnceLock;

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::fs::{hash, sha256};
use crate::runtime::{GraphSource, ModelFile};

/// The vision encoder's graph and weights as they were loaded, and their hash once it is asked for.
#[derive(Debug)]
pub(super) struct VisionIdentity {
    graph: GraphSource,
    is_repaired: bool,
    fingerprint: OnceLock<String>,
}

impl VisionIdentity {
    /// Creates the identity of `graph`, as it is before a repair.
    pub(super) fn new(graph: GraphSource, is_repaired: bool) -> Self {
        Self {
            graph,
            is_repaired,
            fingerprint: OnceLock::new(),
        }
    }

    /// Returns the SHA-256 of graph and weights in hexadecimal. The first call reads them whole.
    ///
    /// # Errors
    /// [`Error::Io`] if a file cannot be read any more; [`Error::InvalidOption`] for a session of the application, whose
    /// weights are unknown.
    pub(super) fn fingerprint(&self) -> Result<&str> {
        if let Some(known) = self.fingerprint.get() {
            return Ok(known);
        }
        let found = self.hash()?;
        Ok(self.fingerprint.get_or_init(|| found))
    }

    fn hash(&self) -> Result<String> {
        let mut parts = Vec::new();
        match &self.graph {
            GraphSource::File(path) | GraphSource::Repaired { file: path, .. } => {
                parts.push(hash_file(path)?);
                let folder = path.parent().unwrap_or(Path::new(""));
                let weights = ModelFile::read(&self.graph)?.map(|mut file| file.external_files());
                for name in weights.unwrap_or_default() {
                    parts.push(hash_file(&folder.join(name))?);
                }
            }
            GraphSource::Memory {
                model, external_data, ..
            } => {
                let mut files: Vec<_> = external_data
                    .iter()
                    .map(|(name, bytes)| (name.as_str(), bytes))
                    .collect();
                files.sort_unstable_by_key(|&(name, _)| name);
                for bytes in [model]
                    .into_iter()
                    .chain(files.into_iter().map(|(_, bytes)| bytes))
                {
                    parts.push(hash_bytes(bytes)?);
                }
            }
            GraphSource::Session(_) => {
                return Err(Error::InvalidOption {
                    name: "sessions",
                    reason: "the vision encoder is the application's own session, of unknown weights; its image features \
                             can only be used by the model that made them"
                        .into(),
                });
            }
        }
        // A repaired graph computes other features.
        parts.push(self.is_repaired.to_string());
        hash_bytes(parts.join("\n").as_bytes())
    }
}

fn hash_file(path: &Path) -> Result<String> {
    sha256(path).map_err(Error::io(path))
}

fn hash_bytes(bytes: &[u8]) -> Result<String> {
    hash(Sha256::new(), bytes).map_err(Error::io("memory"))
}
