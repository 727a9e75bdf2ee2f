//! HTTP, as everything here that reaches for the network does it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ureq::Agent;
use ureq::config::RedirectAuthHeaders;
use ureq::http::HeaderMap;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

use crate::error::{Error, Result};

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(15);
/// Who asks.
const USER_AGENT: &str = concat!("florence2/", env!("CARGO_PKG_VERSION"));

/// Variables that name a file of certificates (PEM) to trust instead of the usual ones, as OpenSSL, Python's requests and curl
/// have them; the first that is set counts.
const CERTIFICATES: [&str; 3] = ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"];

/// A client that gives up where nothing arrives for as long as `stall`. Statuses are answers like others; a token goes
/// to the host that it is for, and is not shown to those which that one refers to.
///
/// # Errors
/// [`Error::InvalidOption`] if a variable names certificates that cannot be read.
pub(crate) fn agent(stall: Duration) -> Result<Agent> {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .redirect_auth_headers(RedirectAuthHeaders::SameHost)
        .user_agent(USER_AGENT)
        // Sizes, ranges and checksums are those of the file itself.
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

/// The certificates that a variable names.
fn named_certificates() -> Result<Option<RootCerts>> {
    let mut variables = CERTIFICATES.into_iter();
    let named =
        variables.find_map(|name| Some((name, std::env::var_os(name).filter(|path| !path.is_empty())?)));
    named
        .map(|(name, path)| certificates(name, Path::new(&path)))
        .transpose()
}

/// The certificates in the file that variable `name` names.
fn certificates(name: &'static str, path: &Path) -> Result<RootCerts> {
    let invalid = |reason: String| Error::InvalidOption {
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
    match certificates.is_empty() {
        true => Err(invalid("there is no certificate (PEM) in it".into())),
        false => Ok(RootCerts::Specific(Arc::new(certificates))),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_read_or_said_to_be_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("roots.pem");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            certificates("SSL_CERT_FILE", &path)
        };
        // Whether what is in them is any good, shows when a server is met.
        let pem = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
        let found = read(&format!("# a company's\n{pem}{pem}")).unwrap();
        assert!(matches!(found, RootCerts::Specific(certificates) if certificates.len() == 2));
        for odd in ["", "no certificate", "-----BEGIN CERTIFICATE-----\n?"] {
            let error = read(odd).unwrap_err().to_string();
            assert!(
                error.contains("SSL_CERT_FILE") && error.contains("roots.pem"),
                "{error}"
            );
        }
        let error = certificates("CURL_CA_BUNDLE", &folder.path().join("absent")).unwrap_err();
        assert!(matches!(
            error,
            Error::InvalidOption {
                name: "CURL_CA_BUNDLE",
                ..
            }
        ));
    }
}
