//! Requests to a hub: the listing of a repository, and its files.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

use hf_hub::Cache;
use hf_hub::api::sync::ApiBuilder;
use serde::Deserialize;
use sha1::Sha1;
use sha2::Digest;
use ureq::http::Response;
use ureq::{Agent, Body, RequestBuilder};

use super::cache::repo;
use super::id::{ModelId, is_commit};
use crate::error::{Cause, Error, Result};
use crate::fs::{hash, sha256};
use crate::http::{agent, check_status, header, network_error};
use crate::options::hub::ResolvedOptions;

/// The length of a SHA-256 in hexadecimal.
const SHA256_LENGTH: usize = 64;

/// The files of a repository at a commit.
#[derive(Debug)]
pub(super) struct Listing {
    pub(super) commit: String,
    /// By path; `None` where the hub lists no size.
    pub(super) files: BTreeMap<String, Option<RemoteFile>>,
}

/// A file on a hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RemoteFile {
    /// The path inside the repository, with `/` between folders.
    pub(super) path: String,
    /// The size in bytes.
    pub(super) size: u64,
    /// The name in the cache: in general the checksum.
    pub(super) etag: String,
    /// `None` if the hub lists none.
    pub(super) checksum: Option<Checksum>,
}

/// A file's checksum in lower-case hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Checksum {
    /// SHA-256, of large files.
    Sha256(String),
    /// The id of git's blob, of small files: the SHA-1 of a header with the length, and the file.
    GitBlob(String),
}

impl Checksum {
    /// Returns whether a file has this checksum.
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

/// A hub's JSON response about a repository.
#[derive(Deserialize)]
struct Info {
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

impl Info {
    /// Returns the listing, `None` without a commit. Files whose paths lead out of the cache are left out.
    fn listing(self) -> Option<Listing> {
        let files = self.siblings.into_iter();
        let files = files.filter(|sibling| is_path_inside(&sibling.rfilename));
        let files = files
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

/// Returns whether a file in the cache can have this name.
fn is_etag(etag: &str) -> bool {
    !etag.is_empty()
        && etag
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// Returns whether a path stays inside the folder that it is joined to.
fn is_path_inside(path: &str) -> bool {
    let is_name = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains(['\\', ':']);
    path.split('/').all(is_name)
}

/// A client of a hub for one model.
pub(super) struct Api {
    api: hf_hub::api::sync::Api,
    agent: Agent,
    id: ModelId,
    token: Option<String>,
}

impl Api {
    /// Creates a client whose requests fail after `stall` without data.
    pub(super) fn new(id: &ModelId, options: &ResolvedOptions, stall: Duration) -> Result<Self> {
        let mut builder = ApiBuilder::from_cache(Cache::new(options.cache.clone()))
            .with_progress(false)
            .with_token(options.token.clone())
            .with_user_agent("florence2", env!("CARGO_PKG_VERSION"));
        if let Some(endpoint) = &options.endpoint {
            builder = builder.with_endpoint(endpoint.clone());
        }
        Ok(Self {
            api: builder
                .build()
                .map_err(|error| unexpected(id.to_string(), error))?,
            agent: agent(stall)?,
            id: id.clone(),
            token: options.token.clone(),
        })
    }

    /// Lists the repository at the id's revision.
    pub(super) fn list(&self) -> Result<Listing> {
        let repo = self.api.repo(repo(&self.id, self.id.revision()));
        let request = repo.info_request().query("blobs", "true");
        let url = request.uri_ref().map(ToString::to_string);
        // An endpoint that is not an address has none.
        let url = url.unwrap_or_else(|| self.url(self.id.revision(), ""));
        let timeouts = self.agent.config().timeouts();
        let tls = self.agent.config().tls_config().clone();
        let mut response = request
            .config()
            .http_status_as_error(false)
            .tls_config(tls)
            .timeout_connect(timeouts.connect)
            .timeout_recv_response(timeouts.recv_response)
            .timeout_recv_body(timeouts.recv_response)
            .build()
            .call()
            .map_err(network_error(&url))?;
        check_status(
            &format!("the model {} (no folder has this name either)", self.id),
            &url,
            response.status().as_u16(),
            response.headers(),
        )?;
        let info: Info = response.body_mut().read_json().map_err(|error| match error {
            ureq::Error::Json(error) => unexpected(url.clone(), format!("not a listing: {error}")),
            error => network_error(&url)(error),
        })?;
        info.listing()
            .ok_or_else(|| unexpected(url, "the listing has no commit".to_owned()))
    }

    /// Returns a file's address at a commit.
    pub(super) fn url(&self, commit: &str, path: &str) -> String {
        self.api.repo(repo(&self.id, commit)).url(path)
    }

    /// Requests the size and checksum of a file that is listed without them.
    pub(super) fn describe(&self, commit: &str, path: &str) -> Result<RemoteFile> {
        let url = self.url(commit, path);
        let request = self.authorised(self.agent.head(&url));
        // The hub itself knows the checksum, not the host that it redirects to.
        let response = request.config().max_redirects(0).build().call();
        let response = response.map_err(network_error(&url))?;
        let headers = response.headers();
        let status = response.status();
        if !status.is_redirection() {
            check_status(path, &url, status.as_u16(), headers)?;
        }
        let etag = header(headers, "x-linked-etag").or_else(|| header(headers, "etag"));
        let etag = etag.map(|etag| etag.trim_start_matches("W/").trim_matches('"'));
        let size = header(headers, "x-linked-size").or_else(|| header(headers, "content-length"));
        let size = size.and_then(|size| size.parse().ok());
        match (etag.filter(|etag| is_etag(etag)), size) {
            (Some(etag), Some(size)) => Ok(RemoteFile {
                path: path.to_owned(),
                size,
                etag: etag.to_owned(),
                checksum: (etag.len() == SHA256_LENGTH).then(|| Checksum::Sha256(etag.to_owned())),
            }),
            _ => Err(unexpected(
                url,
                format!("the answer has no size or no version of {path}"),
            )),
        }
    }

    /// Requests a file from byte `start` on. The response may have any status.
    pub(super) fn get(&self, url: &str, start: u64) -> Result<Response<Body>> {
        let mut request = self.authorised(self.agent.get(url));
        if start > 0 {
            request = request.header("range", format!("bytes={start}-"));
        }
        request.call().map_err(network_error(url))
    }

    fn authorised<B>(&self, request: RequestBuilder<B>) -> RequestBuilder<B> {
        match &self.token {
            Some(token) => request.header("authorization", format!("Bearer {token}")),
            None => request,
        }
    }
}

/// Returns the error for a response that is not a hub's.
fn unexpected(url: String, source: impl Into<Cause>) -> Error {
    Error::Network {
        url,
        source: source.into(),
    }
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
        let listing = serde_json::from_str::<Info>(json).unwrap().listing().unwrap();
        let names: Vec<&String> = listing.files.keys().collect();
        assert_eq!(names, ["bare.txt", "config.json", "onnx/a.onnx"]);
        let config = listing.files["config.json"].as_ref().unwrap();
        assert_eq!((config.size, config.etag.as_str()), (5, "abc"));
        let graph = listing.files["onnx/a.onnx"].as_ref().unwrap();
        assert_eq!(graph.checksum, Some(Checksum::Sha256("fed".into())));
        assert_eq!(listing.files["bare.txt"], None);

        let no_commit: Info = serde_json::from_str(r#"{"sha": "../main", "siblings": []}"#).unwrap();
        assert!(no_commit.listing().is_none());
    }

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
