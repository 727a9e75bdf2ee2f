//! Saved tensors: safetensors with one f32 tensor, the size of its image and a fingerprint of its origin.

use std::collections::HashMap;
use std::path::Path;

use ndarray::{ArrayBase, Data, Dimension};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::geometry::ImageSize;

/// The key of the metadata. There is one only: safetensors writes several in a random order.
const FACTS: &str = "florence2";

/// The facts that are saved beside a tensor, as JSON.
#[derive(Serialize, Deserialize)]
pub(crate) struct Facts {
    /// The original image's size in pixels.
    pub(crate) image_size: ImageSize,
    /// The origin of the values, if it is known.
    pub(crate) fingerprint: Option<String>,
}

/// A tensor that was read.
pub(crate) struct SavedTensor {
    pub(crate) shape: Vec<usize>,
    pub(crate) values: Vec<f32>,
    pub(crate) facts: Facts,
}

/// Returns the file's bytes for a tensor called `name`.
pub(crate) fn to_bytes<D: Dimension>(
    name: &str,
    values: &ArrayBase<impl Data<Elem = f32>, D>,
    facts: &Facts,
) -> Result<Vec<u8>> {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let facts = serde_json::to_string(facts).map_err(|error| invalid(name, error.to_string()))?;
    let metadata = HashMap::from([(FACTS.to_owned(), facts)]);
    let view = TensorView::new(Dtype::F32, values.shape().to_vec(), &bytes);
    view.and_then(|view| safetensors::serialize([(name, view)], Some(metadata)))
        .map_err(|error| invalid(name, error.to_string()))
}

/// Reads the tensor called `name`.
///
/// # Errors
/// [`Error::InvalidTensorFile`] if `bytes` are not what [`to_bytes`] wrote.
pub(crate) fn from_bytes(name: &'static str, bytes: &[u8]) -> Result<SavedTensor> {
    let unreadable = |error: safetensors::SafeTensorError| invalid(name, error.to_string());
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(unreadable)?;
    let tensors = SafeTensors::deserialize(bytes).map_err(unreadable)?;
    let tensor = tensors.tensor(name).map_err(unreadable)?;
    if tensor.dtype() != Dtype::F32 {
        return Err(invalid(
            name,
            format!("its type is {:?} instead of F32", tensor.dtype()),
        ));
    }
    let facts = header
        .metadata()
        .as_ref()
        .and_then(|metadata| metadata.get(FACTS));
    let facts = facts.ok_or_else(|| invalid(name, format!("its metadata has no {FACTS:?}")))?;
    let (values, _) = tensor.data().as_chunks();
    Ok(SavedTensor {
        shape: tensor.shape().to_vec(),
        values: values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
        facts: serde_json::from_str(facts).map_err(|error| invalid(name, error.to_string()))?,
    })
}

/// Writes a file.
pub(crate) fn save(path: &Path, bytes: &[u8]) -> Result<()> {
    std::fs::write(path, bytes).map_err(Error::io(path))
}

/// Reads a file.
pub(crate) fn load(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(Error::io(path))
}

/// Returns the error of a saved tensor called `name`.
pub(crate) fn invalid(name: &str, reason: String) -> Error {
    Error::InvalidTensorFile {
        name: name.to_owned(),
        reason,
    }
}
