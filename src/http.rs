//! HTTP, as everything here that reaches for the network does it.

use std::time::Duration;

use ureq::Agent;
use ureq::config::RedirectAuthHeaders;
use ureq::http::HeaderMap;

use crate::error::{Error, Result};

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(15);
/// Who asks.
const USER_AGENT: &str = concat!("florence2/", env!("CARGO_PKG_VERSION"));

/// A client that gives up where nothing arrives for as long as `stall`. Statuses are answers like others; a token goes
/// to the host that it is for, and is not shown to those which that one refers to.
pub(crate) fn agent(stall: Duration) -> Agent {
    Agent::config_builder()
        .http_status_as_error(false)
        .redirect_auth_headers(RedirectAuthHeaders::SameHost)
        .user_agent(USER_AGENT)
        // Sizes, ranges and checksums are those of the file itself.
        .accept_encoding("identity")
        .timeout_resolve(Some(CONNECT))
        .timeout_connect(Some(CONNECT))
        .timeout_recv_response(Some(stall))
        .timeout_per_read(Some(stall))
        .build()
        .new_agent()
}

/// An error of the connection.
pub(crate) fn network_error(url: &str) -> impl FnOnce(ureq::Error) -> Error {
    let url = url.to_owned();
    move |error| Error::Network {
        url,
        source: Box::new(error),
    }
}

/// A header's text, if it is there.
pub(crate) fn header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

/// What a status says, if it is not the file.
///
/// # Errors
/// [`Error::NotFound`], [`Error::AccessDenied`] or [`Error::HttpStatus`].
pub(crate) fn check_status(what: &str, url: &str, status: u16, headers: &HeaderMap) -> Result<()> {
    let url = url.to_owned();
    let what = what.to_owned();
    // The hub's own words; of these, the code tells apart what it puts behind one status.
    let code = header(headers, "x-error-code").unwrap_or_default();
    let reason = header(headers, "x-error-message").unwrap_or_default().to_owned();
    Err(match (status, code) {
        (200..=299, _) => return Ok(()),
        (404 | 410, _) | (401, "RepoNotFound") => Error::NotFound { what, url, status },
        (401 | 403, _) => Error::AccessDenied {
            what,
            url,
            status,
            reason,
        },
        _ => Error::HttpStatus { url, status, reason },
    })
}
