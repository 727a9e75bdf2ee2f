//! Files of weights, memory-mapped or given as bytes: safetensors, and those of `torch.save`.

mod pytorch;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::ops::Range;
use std::path::Path;

use florence2_layout::files::{INDEX_SUFFIX, LFS_POINTER};

use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;

use crate::error::{Error, Result};

/// A file of weights.
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
    /// The distances of elements along each axis, in elements; `None` if the tensor is contiguous.
    pub(super) strides: Option<Vec<usize>>,
}

/// `model.safetensors.index.json` or `pytorch_model.bin.index.json`.
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

    pub(super) fn map(folder: &Path, name: &str) -> Result<Self> {
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
        check_lfs(&self.name, bytes)?;
        if pytorch::is_pytorch(bytes) || self.name.ends_with(".bin") {
            return pytorch::entries(bytes, shard).map_err(|source| Error::Pytorch {
                file: self.name.clone(),
                source,
            });
        }
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
                strides: None,
            };
            (name, entry)
        });
        Ok(entries.collect())
    }
}

/// Maps a file of weights in a folder, or the shards that it lists if it is an index.
pub(super) fn open(folder: &Path, file: &'static str) -> Result<(Vec<Shard>, BTreeMap<String, Entry>)> {
    if !file.ends_with(INDEX_SUFFIX) {
        let shard = Shard::map(folder, file)?;
        let entries = shard.entries(0)?;
        return Ok((vec![shard], entries));
    }
    let path = folder.join(file);
    let json = std::fs::read(&path).map_err(Error::read(&path))?;
    let index: ShardIndex = serde_json::from_slice(&json).map_err(Error::json(file))?;
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
                index: file,
                tensor: tensor.clone(),
                shard: shard.clone(),
            });
        }
    }
    Ok((shards, entries))
}

/// Checks that a file is not a Git LFS pointer.
pub(super) fn check_lfs(file: &str, bytes: &[u8]) -> Result<()> {
    if bytes.starts_with(LFS_POINTER) {
        return Err(Error::LfsPointer { file: file.into() });
    }
    Ok(())
}

/// Returns whether [`to_f32`] supports this type.
pub(super) fn is_float(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16 | Dtype::F64)
}

/// Returns the values of a tensor with these bytes, row-major.
pub(super) fn values(bytes: &[u8], entry: &Entry) -> Vec<f32> {
    let stored = to_f32(bytes, entry.dtype);
    let Some(strides) = &entry.strides else {
        return stored;
    };
    let mut indices = vec![0];
    for (&size, &stride) in entry.shape.iter().zip(strides) {
        let along = |index: usize| (0..size).map(move |step| index + step * stride);
        indices = indices.into_iter().flat_map(along).collect();
    }
    let value = |index| stored.get(index).copied().unwrap_or_default();
    indices.into_iter().map(value).collect()
}

/// Converts little-endian floats to f32: f64 by rounding, the other types exactly.
fn to_f32(bytes: &[u8], dtype: Dtype) -> Vec<f32> {
    let halves = || bytes.as_chunks::<2>().0.iter();
    match dtype {
        Dtype::F16 => halves().map(|&half| f16::from_le_bytes(half).to_f32()).collect(),
        Dtype::BF16 => halves().map(|&half| bf16::from_le_bytes(half).to_f32()).collect(),
        Dtype::F64 => {
            let words = bytes.as_chunks::<8>().0.iter();
            words.map(|&word| f64::from_le_bytes(word) as f32).collect()
        }
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
    fn values_of_a_transposed_tensor_are_row_major() {
        let entry = Entry {
            shard: 0,
            range: 0..24,
            dtype: Dtype::F32,
            shape: vec![3, 2],
            strides: Some(vec![1, 3]),
        };
        let stored = [1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0];
        let bytes: Vec<u8> = stored.iter().flat_map(|value| value.to_le_bytes()).collect();
        assert_eq!(values(&bytes, &entry), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    }

    #[test]
    fn floats_of_all_types_are_converted_exactly() {
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
        let f64s: Vec<u8> = values
            .iter()
            .flat_map(|&value| f64::from(value).to_le_bytes())
            .collect();
        assert_eq!(to_f32(&f64s, Dtype::F64), values);
    }
}
