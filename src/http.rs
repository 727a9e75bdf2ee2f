//! The HTTP client of all requests.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ureq::Agent;
use ureq::config::RedirectAuthHeaders;
use ureq::http::HeaderMap;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

use crate::error::{Error, Result};

/// The timeout of connecting.
const CONNECT: Duration = Duration::from_secs(15);
/// The user agent.
const USER_AGENT: &str = concat!("florence2/", env!("CARGO_PKG_VERSION"));

/// Environment variables of OpenSSL, Python's requests and curl that name a file of certificates (PEM) to trust
/// instead of the default ones. The first variable that is set is used.
const CERTIFICATES: [&str; 3] = ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"];

/// Returns a client that fails after `stall` without data. A status is not an error; a token is not sent to hosts that a
/// response redirects to.
///
/// # Errors
/// [`Error::InvalidOption`] if the certificates of an environment variable cannot be read.
pub(crate) fn agent(stall: Duration) -> Result<Agent> {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .redirect_auth_headers(RedirectAuthHeaders::SameHost)
        .user_agent(USER_AGENT)
        // Compressed, the body would not have the listed size and checksum.
        .accept_encoding("identity")
        .timeout_resolve(Some(CONNECT))
        .timeout_connect(Some(CONNECT))
        .timeout_recv_response(Some(stall))
        .timeout_per_read(Some(stall));
    let config = match named_certificates()? {
        Some(roots) => config.tls_config(TlsConfig::builder().root_certs(roots).build()),
        None => config,
    };
    Ok(config.build().new_agent())
}

/// Returns the certificates of the environment variables.
fn named_certificates() -> Result<Option<RootCerts>> {
    let mut variables = CERTIFICATES.into_iter();
    let named =
        variables.find_map(|name| Some((name, std::env::var_os(name).filter(|path| !path.is_empty())?)));
    named
        .map(|(name, path)| certificates(name, Path::new(&path)))
        .transpose()
}

/// Returns the certificates in the file of variable `name`.
fn certificates(name: &'static str, path: &Path) -> Result<RootCerts> {
    let invalid = |reason: String| Error::InvalidEnvironment {
        name,
        reason: format!("{}: {reason}", path.display()),
    };
    let pem = std::fs::read(path).map_err(|error| invalid(error.to_string()))?;
    let mut certificates: Vec<Certificate<'static>> = Vec::new();
    for item in parse_pem(&pem) {
        if let PemItem::Certificate(certificate) = item.map_err(|error| invalid(error.to_string()))? {
            certificates.push(certificate);
        }
    }
    if certificates.is_empty() {
        return Err(invalid("there is no certificate (PEM) in it".into()));
    }
    Ok(RootCerts::Specific(Arc::new(certificates)))
}

/// Returns an error of the connection.
pub(crate) fn network_error(url: &str) -> impl FnOnce(ureq::Error) -> Error {
    let url = url.to_owned();
    move |error| Error::Network {
        url,
        source: Box::new(error),
    }
}

/// Returns a header's text.
pub(crate) fn header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

/// Checks that a status is a success. `what` was requested.
///
/// # Errors
/// [`Error::NotFound`], [`Error::AccessDenied`] or [`Error::HttpStatus`].
pub(crate) fn check_status(what: &str, url: &str, status: u16, headers: &HeaderMap) -> Result<()> {
    let url = url.to_owned();
    let what = what.to_owned();
    // The hub's error codes distinguish errors of the same status.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_read_or_rejected() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("roots.pem");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            certificates("SSL_CERT_FILE", &path)
        };
        // Whether a certificate is valid shows only in a connection.
        let pem = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
        let found = read(&format!("# a company's\n{pem}{pem}")).unwrap();
        assert!(matches!(found, RootCerts::Specific(certificates) if certificates.len() == 2));
        for invalid in ["", "no certificate", "-----BEGIN CERTIFICATE-----\n?"] {
            let error = read(invalid).unwrap_err().to_string();
            assert!(
                error.contains("SSL_CERT_FILE") && error.contains("roots.pem"),
                "{error}"
            );
        }
        let error = certificates("CURL_CA_BUNDLE", &folder.path().join("absent")).unwrap_err();
        assert!(matches!(
            error,
            Error::InvalidEnvironment {
                name: "CURL_CA_BUNDLE",
                ..
            }
        ));
    }
}
