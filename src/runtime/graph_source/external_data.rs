//! Checks of the files of external data that a graph names: ONNX Runtime before 1.24 reads any file, wherever it is.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

use crate::bytes::Bytes;
use crate::error::{Error, Result};

/// The start of locations that stand for an address in memory (`*/_ORT_MEM_ADDR_/*`), which ONNX Runtime dereferences.
const ADDRESS: &str = "*/";

/// Returns the real paths of external data in files, by their locations in the graph. `folder` is the graph's folder.
///
/// A location is a relative path without `..`. A link may lead to a file inside the folder, or from the snapshot of a hub's
/// cache into that repository's `blobs`.
///
/// # Errors
/// [`Error::InvalidGraph`] for any other location; [`Error::Io`] if a file cannot be found.
pub(super) fn real_files(
    graph: &str,
    folder: &Path,
    locations: BTreeSet<String>,
) -> Result<BTreeMap<String, PathBuf>> {
    let mut permitted = Vec::new();
    let mut files = BTreeMap::new();
    for location in locations {
        let outside = || Error::InvalidGraph {
            graph: graph.to_owned(),
            reason: format!(
                "it has weights in {location:?}, which is not inside its folder; fetch or export it again"
            ),
        };
        if location.starts_with(ADDRESS) || !is_inside(&location) {
            return Err(outside());
        }
        if permitted.is_empty() {
            permitted = permitted_folders(folder)?;
        }
        let file = real_path(&folder.join(&location))?;
        if !permitted.iter().any(|folder| file.starts_with(folder)) || !file.is_file() {
            return Err(outside());
        }
        files.insert(location, file);
    }
    Ok(files)
}

/// Returns the external data of a graph in memory, by its locations in the graph, from `files` by their paths.
///
/// # Errors
/// [`Error::InvalidGraph`] if a file is missing: ONNX Runtime would look for it on the disk.
pub(super) fn files_in_memory(
    graph: &str,
    files: &[(String, Bytes)],
    locations: BTreeSet<String>,
) -> Result<Vec<(String, Bytes)>> {
    let of_location = |location: String| {
        let is_meant = |path: &str| Path::new(path).components().eq(normal(&location));
        match files.iter().find(|(path, _)| is_meant(path)) {
            Some((_, bytes)) => Ok((location, bytes.clone())),
            None => Err(Error::InvalidGraph {
                graph: graph.to_owned(),
                reason: format!("its weights {location:?} are not among the files in memory"),
            }),
        }
    };
    locations.into_iter().map(of_location).collect()
}

/// Returns the components of a path without `.`.
fn normal(path: &str) -> impl Iterator<Item = Component<'_>> {
    let components = Path::new(path).components();
    components.filter(|component| *component != Component::CurDir)
}

/// Returns `true` if a relative path stays inside its folder.
pub(crate) fn is_inside(path: &str) -> bool {
    let mut components = Path::new(path).components();
    components.all(|component| matches!(component, Component::Normal(_) | Component::CurDir))
}

/// Returns the folders that external data may be in, without links: the graph's, and for a snapshot of a hub's cache
/// (`snapshots/<commit>`) the repository's `blobs`.
fn permitted_folders(folder: &Path) -> Result<Vec<PathBuf>> {
    let folder = real_path(&folder.join("."))?;
    let mut parents = folder.ancestors().skip(1);
    let snapshots = parents.find(|folder| folder.file_name() == Some(OsStr::new("snapshots")));
    let blobs = snapshots.and_then(|snapshots| real_path(&snapshots.with_file_name("blobs")).ok());
    Ok([folder].into_iter().chain(blobs).collect())
}

/// Returns the path of a file with links resolved. On Windows, only a path that is itself a link is resolved, since
/// resolved paths there do not accept `/`.
pub(super) fn real_path(path: &Path) -> Result<PathBuf> {
    let real = if cfg!(windows) && !path.is_symlink() {
        std::path::absolute(path)
    } else {
        path.canonicalize()
    };
    real.map_err(Error::io(path))
}
