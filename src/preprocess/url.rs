//! Images fetched by URL.

use std::io::Read;
use std::time::Duration;

use florence2_layout::setters;
use image::RgbImage;

use super::{ImageLimits, decode_image_with};
use crate::error::{Error, IMAGE, Result};
use crate::http::{agent, check_status, network_error};

/// Limits of an image's transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct UrlLimits {
    /// The maximum time from connecting to the last byte; 30 seconds by default.
    pub timeout: Duration,
    /// The maximum size of the encoded image, in bytes; 64 MiB by default.
    pub max_bytes: u64,
}

impl Default for UrlLimits {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(30),
            max_bytes: 64 << 20,
        }
    }
}

setters! { UrlLimits {
    with_timeout(timeout: Duration);
    with_max_bytes(max_bytes: u64);
}}

/// Returns whether `text` is an `http` or `https` URL.
pub fn is_url(text: &str) -> bool {
    let scheme = text
        .split_once("://")
        .map(|(scheme, _)| scheme.to_ascii_lowercase());
    matches!(scheme.as_deref(), Some("http" | "https"))
}

/// Fetches the image at an `http` or `https` URL, upright and in RGB, within the default limits.
///
/// # Errors
/// As [`load_image_url_with`].
pub fn load_image_url(url: &str) -> Result<RgbImage> {
    load_image_url_with(url, &UrlLimits::default(), &ImageLimits::default())
}

/// Fetches the image at an `http` or `https` URL, upright and in RGB: see [`decode_image_with`].
///
/// # Errors
/// [`Error::Network`] (also for a timeout), [`Error::NotFound`], [`Error::AccessDenied`], [`Error::HttpStatus`],
/// [`Error::DownloadTooLarge`], and errors of [`decode_image_with`].
pub fn load_image_url_with(url: &str, limits: &UrlLimits, image_limits: &ImageLimits) -> Result<RgbImage> {
    let agent = agent(limits.timeout)?;
    let request = agent
        .get(url)
        .config()
        .timeout_global(Some(limits.timeout))
        .build();
    let response = request.call().map_err(network_error(url))?;
    check_status(IMAGE, url, response.status().as_u16(), response.headers())?;
    let too_large = || Error::DownloadTooLarge {
        url: url.to_owned(),
        limit: limits.max_bytes,
    };
    if response
        .body()
        .content_length()
        .is_some_and(|length| length > limits.max_bytes)
    {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    let body = response.into_body().into_with_config().limit(u64::MAX).reader();
    body.take(limits.max_bytes.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|error| network_error(url)(error.into()))?;
    if bytes.len() as u64 > limits.max_bytes {
        return Err(too_large());
    }
    decode_image_with(url, &bytes, image_limits)
}
