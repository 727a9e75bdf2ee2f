//! Weights in the format of `torch.save`: a zip archive with a pickle and a file for each storage.

mod pickle;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io::Cursor;
use std::ops::Range;

use zip::{CompressionMethod, ZipArchive};

use super::Entry;
use crate::error::PytorchError;

/// The first bytes of a zip archive.
const ZIP: &[u8] = b"PK\x03\x04";
/// The first bytes of a file of `torch.save` before PyTorch 1.6: a pickled number.
const LEGACY: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";
/// The pickle, in the folder that all files of an archive are in.
const PICKLE: &str = "data.pkl";

/// Returns whether a file is one of `torch.save`, by its first bytes.
pub(super) fn is_pytorch(bytes: &[u8]) -> bool {
    bytes.starts_with(ZIP) || bytes.starts_with(LEGACY)
}

/// Returns the tensors of a file by name. Their ranges are in bounds.
pub(super) fn entries(bytes: &[u8], shard: usize) -> Result<BTreeMap<String, Entry>, PytorchError> {
    if bytes.starts_with(LEGACY) {
        return Err(PytorchError::Legacy);
    }
    let files = Files::open(bytes)?;
    let order = files.optional("byteorder")?;
    if order.and_then(|range| bytes.get(range)) == Some(b"big") {
        return Err(PytorchError::BigEndian);
    }
    let pickle = files.get(PICKLE)?;
    let mut entries = BTreeMap::new();
    for (name, tensor) in pickle::tensors(bytes.get(pickle).unwrap_or_default())? {
        let storage = files.get(&format!("data/{}", tensor.storage.key))?;
        let entry = entry(&tensor, storage, shard);
        let entry = entry.ok_or_else(|| PytorchError::OutOfBounds(name.to_owned()))?;
        entries.insert(name.to_owned(), entry);
    }
    Ok(entries)
}

/// Returns the location of a tensor in its storage. `None` if it leads out of it, or has more elements than the storage:
/// checkpoints have no expanded tensors, and a small file must not make a large tensor.
fn entry(tensor: &pickle::Tensor<'_>, storage: Range<usize>, shard: usize) -> Option<Entry> {
    let pickle::Tensor {
        shape,
        strides,
        offset,
        storage: of,
    } = tensor;
    let width = of.dtype.bitsize() / 8; // of whole bytes, as all types of the pickle reader
    let elements = storage.len() / width;
    let length = shape.iter().try_fold(1usize, |n, &size| n.checked_mul(size))?;
    if shape.len() != strides.len() || length > elements {
        return None;
    }
    // The number of elements from the first to the last one.
    let mut span = usize::from(length > 0);
    let mut next = 1;
    let mut is_contiguous = true;
    for (&size, &stride) in shape.iter().zip(strides).rev().filter(|_| length > 0) {
        is_contiguous &= size == 1 || stride == next;
        next = size.checked_mul(next)?;
        span = (size - 1).checked_mul(stride)?.checked_add(span)?;
    }
    if offset.checked_add(span)? > elements {
        return None;
    }
    let start = storage.start + offset * width;
    Some(Entry {
        shard,
        range: start..start + span * width,
        dtype: of.dtype,
        shape: shape.clone(),
        strides: (!is_contiguous).then(|| strides.clone()),
    })
}

/// The location of each file of an archive.
struct Files {
    /// The folder that all files are in, with a `/`.
    folder: String,
    /// `None` for compressed and encrypted files.
    ranges: BTreeMap<String, Option<Range<usize>>>,
}

impl Files {
    fn open(bytes: &[u8]) -> Result<Self, PytorchError> {
        let damaged = |error| PytorchError::Archive(Box::new(error));
        let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(damaged)?;
        if archive.has_duplicate_names() {
            return Err(PytorchError::DuplicateNames);
        }
        let mut ranges = BTreeMap::new();
        for index in 0..archive.len() {
            let file = archive.by_index_raw(index).map_err(damaged)?;
            let name = file.name().map_err(damaged)?.into_owned();
            let is_stored = file.compression() == CompressionMethod::Stored
                && !file.encrypted()
                && file.size() == file.compressed_size();
            let range = range(file.data_start(), file.size()).filter(|range| range.end <= bytes.len());
            if is_stored && range.is_none() {
                return Err(PytorchError::Missing(name));
            }
            ranges.insert(name, range.filter(|_| is_stored));
        }
        let folder = ranges.keys().find_map(|name| {
            let folder = name.strip_suffix(PICKLE)?;
            (folder.matches('/').count() == 1 && folder.ends_with('/')).then(|| folder.to_owned())
        });
        Ok(Files {
            folder: folder.ok_or_else(|| PytorchError::Missing(PICKLE.to_owned()))?,
            ranges,
        })
    }

    fn optional(&self, name: &str) -> Result<Option<Range<usize>>, PytorchError> {
        match self.ranges.get(&format!("{}{name}", self.folder)) {
            Some(Some(range)) => Ok(Some(range.clone())),
            Some(None) => Err(PytorchError::Compressed(name.to_owned())),
            None => Ok(None),
        }
    }

    fn get(&self, name: &str) -> Result<Range<usize>, PytorchError> {
        self.optional(name)?
            .ok_or_else(|| PytorchError::Missing(name.to_owned()))
    }
}

fn range(start: Option<u64>, size: u64) -> Option<Range<usize>> {
    let start = usize::try_from(start?).ok()?;
    Some(start..start.checked_add(usize::try_from(size).ok()?)?)
}
