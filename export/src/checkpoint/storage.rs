//! Safetensors files, memory-mapped or given as bytes.

use florence2_layout::files::{WEIGHTS, WEIGHTS_INDEX};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::ops::Range;
use std::path::Path;

use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;

use crate::error::{Error, Result};

/// A safetensors file.
pub(super) struct Shard {
    name: String,
    bytes: Bytes,
}

enum Bytes {
    Mapped(memmap2::Mmap),
    Given(Cow<'static, [u8]>),
}

/// The location and type of a tensor.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) shard: usize,
    pub(super) range: Range<usize>,
    pub(super) dtype: Dtype,
    pub(super) shape: Vec<usize>,
}

/// `model.safetensors.index.json`.
#[derive(Deserialize)]
struct ShardIndex {
    weight_map: BTreeMap<String, String>,
}

impl Shard {
    pub(super) fn given(name: &str, bytes: Cow<'static, [u8]>) -> Self {
        Shard {
            name: name.into(),
            bytes: Bytes::Given(bytes),
        }
    }

    fn map(folder: &Path, name: &str) -> Result<Self> {
        let path = folder.join(name);
        let failed = Error::read(&path);
        let file = File::open(&path).map_err(&failed)?;
        if file.metadata().map_err(&failed)?.len() == 0 {
            // Not every system can map an empty file; parsing it then fails.
            return Ok(Shard::given(name, Cow::Borrowed(&[])));
        }
        // SAFETY: the mapping is read-only. If another process truncates the file meanwhile, reading it raises SIGBUS, which
        // ends this process: the accepted cost of not reading gigabytes into memory.
        let mapped = unsafe { memmap2::Mmap::map(&file) }.map_err(&failed)?;
        Ok(Shard {
            name: name.into(),
            bytes: Bytes::Mapped(mapped),
        })
    }

    pub(super) fn bytes(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Mapped(bytes) => bytes,
            Bytes::Given(bytes) => bytes,
        }
    }

    /// Returns its tensors by their stored names.
    pub(super) fn entries(&self, shard: usize) -> Result<BTreeMap<String, Entry>> {
        let bytes = self.bytes();
        let (header, metadata) = SafeTensors::read_metadata(bytes).map_err(|source| Error::Safetensors {
            file: self.name.clone(),
            source: source.into(),
        })?;
        let data = size_of::<u64>() + header;
        let entries = metadata.tensors().into_iter().map(|(name, info)| {
            let (start, end) = info.data_offsets;
            let entry = Entry {
                shard,
                range: data + start..data + end,
                dtype: info.dtype,
                shape: info.shape.clone(),
            };
            (name, entry)
        });
        Ok(entries.collect())
    }
}

/// Maps the safetensors files of a folder: `model.safetensors`, or the shards that the index lists.
pub(super) fn open(folder: &Path) -> Result<(Vec<Shard>, BTreeMap<String, Entry>)> {
    if folder.join(WEIGHTS).is_file() {
        let shard = Shard::map(folder, WEIGHTS)?;
        let entries = shard.entries(0)?;
        return Ok((vec![shard], entries));
    }
    let path = folder.join(WEIGHTS_INDEX);
    if !path.is_file() {
        return Err(Error::NotACheckpoint {
            folder: folder.into(),
            file: WEIGHTS,
        });
    }
    let json = std::fs::read(&path).map_err(Error::read(&path))?;
    let index: ShardIndex = serde_json::from_slice(&json).map_err(Error::json(WEIGHTS_INDEX))?;
    let names: BTreeSet<&String> = index.weight_map.values().collect();
    let mut shards = Vec::new();
    let mut entries = BTreeMap::new();
    for name in names {
        let shard = Shard::map(folder, name)?;
        entries.extend(shard.entries(shards.len())?);
        shards.push(shard);
    }
    for (tensor, shard) in &index.weight_map {
        let found = entries.get(tensor).and_then(|entry| shards.get(entry.shard));
        if found.is_none_or(|found| found.name != *shard) {
            return Err(Error::ShardIndex {
                tensor: tensor.clone(),
                shard: shard.clone(),
            });
        }
    }
    Ok((shards, entries))
}

/// Returns whether [`to_f32`] supports this type.
pub(super) fn is_float(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16)
}

/// Converts little-endian floats to f32, exactly for all three types.
pub(super) fn to_f32(bytes: &[u8], dtype: Dtype) -> Vec<f32> {
    let halves = || bytes.as_chunks::<2>().0.iter();
    match dtype {
        Dtype::F16 => halves().map(|&half| f16::from_le_bytes(half).to_f32()).collect(),
        Dtype::BF16 => halves().map(|&half| bf16::from_le_bytes(half).to_f32()).collect(),
        _ => bytes
            .as_chunks::<4>()
            .0
            .iter()
            .map(|&word| f32::from_le_bytes(word))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_of_all_three_types_are_converted_exactly() {
        let values = [1.5f32, -0.015625, 0.0, 240.0];
        let f32s: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let f16s: Vec<u8> = values
            .iter()
            .flat_map(|&value| f16::from_f32(value).to_le_bytes())
            .collect();
        let bf16s: Vec<u8> = values
            .iter()
            .flat_map(|&value| bf16::from_f32(value).to_le_bytes())
            .collect();
        assert_eq!(to_f32(&f32s, Dtype::F32), values);
        assert_eq!(to_f32(&f16s, Dtype::F16), values);
        assert_eq!(to_f32(&bf16s, Dtype::BF16), values);
    }
}
