//! Fetched libraries in the cache: `onnxruntime/<version>-<os>-<arch>/<library>`, each beside a record of its size and
//! SHA-256 that is written when both have been checked.

use std::env::consts::{ARCH, OS};
use std::fs;
use std::path::{Path, PathBuf};

use super::library::{libraries_in, not_empty};
use crate::cache::{RUNTIME_RECORD, RUNTIMES};
use crate::fs::entries;

/// Size and checksum of a library when it was fetched.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Record {
    /// The size in bytes.
    pub(super) size: u64,
    /// The SHA-256 in lower-case hexadecimal.
    pub(super) sha256: String,
}

impl Record {
    /// Reads the record in a folder; `None` if there is no valid one.
    pub(super) fn read(dir: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(dir.join(RUNTIME_RECORD)).ok()?).ok()
    }

    /// Computes the record of a library.
    #[cfg(feature = "fetch-runtime")]
    pub(super) fn of(library: &Path) -> std::io::Result<Self> {
        Ok(Self {
            size: fs::metadata(library)?.len(),
            sha256: crate::fs::sha256(library)?,
        })
    }

    #[cfg(feature = "fetch-runtime")]
    pub(super) fn write(&self, dir: &Path) -> std::io::Result<()> {
        fs::write(dir.join(RUNTIME_RECORD), serde_json::to_vec(self)?)
    }
}

/// Returns the folder of all fetched versions.
pub(super) fn root(cache: &Path) -> PathBuf {
    cache.join(RUNTIMES)
}

/// Returns the folder of one version, for the platform that this program is built for.
#[cfg(feature = "fetch-runtime")]
pub(super) fn version_dir(cache: &Path, version: &str) -> PathBuf {
    root(cache).join(format!("{version}-{OS}-{ARCH}"))
}

/// Returns the fetched libraries of the recorded size, the highest version first, or the reason why there are none.
pub(super) fn libraries(cache: &Path) -> Result<Vec<PathBuf>, String> {
    let root = root(cache);
    let suffix = format!("-{OS}-{ARCH}");
    let mut versions: Vec<(Vec<u32>, PathBuf)> = entries(&root)
        .into_iter()
        .filter_map(|dir| {
            let version = dir.file_name()?.to_str()?.strip_suffix(&suffix)?;
            let numbers = version
                .split('.')
                .map(|part| part.parse().ok())
                .collect::<Option<_>>()?;
            Some((numbers, dir))
        })
        .collect();
    versions.sort_by(|a, b| b.0.cmp(&a.0));
    if versions.is_empty() {
        return Err(format!("no library in {}", root.display()));
    }
    let (mut intact, mut damaged) = (Vec::new(), Vec::new());
    for (_, folder) in versions {
        let size = Record::read(&folder).map(|record| record.size);
        for library in libraries_in(&folder).unwrap_or_default() {
            if fs::metadata(&library).ok().map(|file| file.len()) == size {
                intact.push(library);
            } else {
                damaged.push(format!("{} is damaged; fetch it again", library.display()));
            }
        }
    }
    not_empty(intact, || damaged.join("; "))
}
