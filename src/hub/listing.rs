//! What a repository holds at a commit, as its hub lists it.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::checksum::Checksum;
use super::id::is_commit;

/// The files of a repository at a commit.
#[derive(Debug)]
pub(super) struct Listing {
    pub(super) commit: String,
    /// By path; `None` where the listing has no sizes.
    pub(super) files: BTreeMap<String, Option<RemoteFile>>,
}

/// A file on the hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RemoteFile {
    /// Inside the repository, `/` between folders.
    pub(super) path: String,
    /// In bytes.
    pub(super) size: u64,
    /// What it is called in the cache: its checksum, in general.
    pub(super) etag: String,
    /// `None` if the hub does not say.
    pub(super) checksum: Option<Checksum>,
}

/// The hub's answer, as far as it is of use.
#[derive(Deserialize)]
pub(super) struct Answer {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    #[serde(rename = "blobId")]
    blob_id: Option<String>,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    sha256: String,
    size: u64,
}

impl Answer {
    /// The listing; `None` if it names no commit. Files whose names would lead out of the cache are left out.
    pub(super) fn listing(self) -> Option<Listing> {
        let files = self
            .siblings
            .into_iter()
            .filter(|sibling| is_path_inside(&sibling.rfilename))
            .map(|sibling| (sibling.rfilename.clone(), sibling.file()))
            .collect();
        is_commit(&self.sha).then_some(Listing {
            commit: self.sha,
            files,
        })
    }
}

impl Sibling {
    fn file(self) -> Option<RemoteFile> {
        let (size, etag, checksum) = match self.lfs {
            Some(lfs) => (lfs.size, lfs.sha256.clone(), Checksum::Sha256(lfs.sha256)),
            None => {
                let id = self.blob_id?;
                (self.size?, id.clone(), Checksum::GitBlob(id))
            }
        };
        is_etag(&etag).then_some(RemoteFile {
            path: self.rfilename,
            size,
            etag,
            checksum: Some(checksum),
        })
    }
}

/// Whether this can be a file's name in the cache.
pub(super) fn is_etag(etag: &str) -> bool {
    !etag.is_empty()
        && etag
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// Whether a path stays inside the folder that it is joined to.
pub(super) fn is_path_inside(path: &str) -> bool {
    let is_name = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains(['\\', ':']);
    path.split('/').all(is_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listings_are_read_with_checksums_of_both_kinds() {
        let json = r#"{"sha": "0123456789abcdef0123456789abcdef01234567", "siblings": [
            {"rfilename": "config.json", "size": 5, "blobId": "abc"},
            {"rfilename": "onnx/a.onnx", "size": 7, "blobId": "def", "lfs": {"sha256": "fed", "size": 7, "pointerSize": 1}},
            {"rfilename": "bare.txt"},
            {"rfilename": "../outside"}, {"rfilename": "/etc/passwd"}, {"rfilename": "a/../../b"}
        ]}"#;
        let listing = serde_json::from_str::<Answer>(json).unwrap().listing().unwrap();
        let names: Vec<&String> = listing.files.keys().collect();
        assert_eq!(names, ["bare.txt", "config.json", "onnx/a.onnx"]);
        let config = listing.files["config.json"].as_ref().unwrap();
        assert_eq!((config.size, config.etag.as_str()), (5, "abc"));
        let graph = listing.files["onnx/a.onnx"].as_ref().unwrap();
        assert_eq!(graph.checksum, Some(Checksum::Sha256("fed".into())));
        assert_eq!(listing.files["bare.txt"], None);

        let no_commit: Answer = serde_json::from_str(r#"{"sha": "../main", "siblings": []}"#).unwrap();
        assert!(no_commit.listing().is_none());
    }
}
