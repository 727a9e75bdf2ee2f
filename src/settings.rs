//! Deserialization of a model's JSON settings.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// Deserializes `T` from the settings of `file`. Null is treated as missing, as in transformers.
///
/// # Errors
/// [`Error::InvalidSetting`], naming the setting that is not of its type.
pub(crate) fn deserialize<T: DeserializeOwned>(
    file: &'static str,
    mut settings: Map<String, Value>,
) -> Result<T> {
    settings.retain(|_, value| !value.is_null());
    serde_path_to_error::deserialize(Value::Object(settings)).map_err(|error| Error::InvalidSetting {
        file,
        name: error.path().to_string(),
        reason: error.into_inner().to_string(),
    })
}
