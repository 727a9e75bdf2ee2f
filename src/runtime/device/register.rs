//! Registering devices with a session.

use ort::session::builder::SessionBuilder;

use super::usable::said;
use super::{Device, ProviderOption};
use crate::error::{Error, Result};
use crate::runtime::provider_cache::ProviderCacheKey;
use crate::runtime::{GraphSource, log};

/// Registers the devices' providers, in their order, with these options beside ours; `cached` is the graph of which they may
/// keep what they make.
///
/// # Errors
/// [`Error::DeviceUnusable`] if a device cannot be used; [`Error::InvalidOption`] if it can, but not with these options.
pub(crate) fn register(
    mut builder: SessionBuilder,
    cached: Option<&GraphSource>,
    devices: &[Device],
    options: &[ProviderOption],
) -> Result<SessionBuilder> {
    let key = devices.iter().any(|device| device.caches());
    let key = cached.filter(|_| key).and_then(ProviderCacheKey::of);
    for &device in devices {
        device.check_in_library()?;
        let provider = device.provider(options, key.as_ref().map(ProviderCacheKey::cache))?;
        if let Some(key) = &key {
            key.describe(device)?;
        }
        let registering =
            || -> ort::Result<SessionBuilder> { Ok(builder.with_execution_providers([provider])?) };
        let (registered, logged) = log::keeping_errors(registering);
        builder = match registered {
            Ok(builder) => builder,
            Err(error) => {
                device.usable()?;
                return Err(Error::InvalidOption {
                    name: "ep-option",
                    reason: format!("{device} refuses its options: {}", said(error.message(), &logged)),
                });
            }
        };
    }
    Ok(builder)
}
