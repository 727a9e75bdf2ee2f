//! The hub's two questions: what is in a repository, and the files themselves.

use hf_hub::Cache;
use hf_hub::api::sync::{Api, ApiBuilder};
use ureq::http::Response;
use ureq::{Agent, Body, RequestBuilder};

use super::cache::repo;
use super::checksum::Checksum;
use super::id::ModelId;
use super::listing::{Answer, Listing, RemoteFile, is_etag};
use super::options::HubOptions;
use super::settings::Settings;
use crate::error::{Cause, Error, Result};
use crate::http::{agent, check_status, header, network_error};

/// The length of SHA-256 in hexadecimal.
const SHA256_LENGTH: usize = 64;

/// A hub, asked about one model.
pub(super) struct Client {
    api: Api,
    agent: Agent,
    id: ModelId,
    token: Option<String>,
}

impl Client {
    pub(super) fn new(id: &ModelId, settings: &Settings, options: &HubOptions) -> Result<Self> {
        let mut builder = ApiBuilder::from_cache(Cache::new(settings.cache.clone()))
            .with_progress(false)
            .with_token(settings.token.clone())
            .with_user_agent("florence2", env!("CARGO_PKG_VERSION"));
        if let Some(endpoint) = &settings.endpoint {
            builder = builder.with_endpoint(endpoint.clone());
        }
        Ok(Self {
            api: builder.build().map_err(|error| failed(id.to_string(), error))?,
            agent: agent(options.stall)?,
            id: id.clone(),
            token: settings.token.clone(),
        })
    }

    /// What the repository holds at the revision of the id.
    pub(super) fn list(&self) -> Result<Listing> {
        let repo = self.api.repo(repo(&self.id, self.id.revision()));
        let request = repo.info_request().query("blobs", "true");
        let url = request.uri_ref().map(ToString::to_string);
        // An endpoint that is no address has none.
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
        let answer: Answer = response.body_mut().read_json().map_err(|error| match error {
            ureq::Error::Json(error) => self.odd(&url, format!("not a listing: {error}")),
            error => network_error(&url)(error),
        })?;
        answer
            .listing()
            .ok_or_else(|| self.odd(&url, "it names no commit"))
    }

    /// A file's address at a commit.
    pub(super) fn url(&self, commit: &str, path: &str) -> String {
        self.api.repo(repo(&self.id, commit)).url(path)
    }

    /// Size and checksum of a file, where the listing has neither.
    pub(super) fn describe(&self, commit: &str, path: &str) -> Result<RemoteFile> {
        let url = self.url(commit, path);
        let request = self.authorised(self.agent.head(&url));
        // The hub itself knows the checksum, not the host that it refers to.
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
            _ => Err(self.odd(
                &url,
                format!("it does not say how big {path} is, or which version"),
            )),
        }
    }

    /// A file from byte `start` on, whatever the status.
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

    fn odd(&self, url: &str, reason: impl Into<String>) -> Error {
        failed(url.to_owned(), reason.into())
    }
}

/// An answer that is none of a hub's.
fn failed(url: String, source: impl Into<Cause>) -> Error {
    Error::Network {
        url,
        source: source.into(),
    }
}
