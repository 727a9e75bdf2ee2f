//! Florence-2 checkpoints: configuration, weights and tokenizer files.

mod adapter;
mod folder;
pub(crate) mod naming;
pub(crate) mod paths;
mod storage;
mod weights;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use florence2_layout::files::{CONFIG, SETTINGS_FILES, TOKENIZER_FILES, WEIGHTS, WEIGHTS_FILES};
use serde_json::Value;

use crate::config::ModelConfig;
use crate::error::{Error, Result};
pub(crate) use weights::Weights;

use adapter::Delta;
use storage::{Entry, Shard};

/// An open checkpoint. Weights are memory-mapped, and read only when a graph is written.
pub struct Checkpoint {
    /// The folder, unless opened from bytes.
    folder: Option<PathBuf>,
    config: ModelConfig,
    files: BTreeMap<String, Vec<u8>>,
    shards: Vec<Shard>,
    /// Tensors by native name.
    tensors: BTreeMap<String, Stored>,
    /// Changes of weights by adapters, by native name.
    deltas: BTreeMap<String, Vec<Delta>>,
}

/// A stored tensor.
#[derive(Clone)]
struct Stored {
    /// Its name in the checkpoint, without wrappers.
    name: String,
    entry: Entry,
}

impl Checkpoint {
    /// Opens a folder with `config.json` and one of `model.safetensors`, `model.safetensors.index.json` with its shards,
    /// `pytorch_model.bin` and `pytorch_model.bin.index.json` with its shards. No code in files of PyTorch is run.
    ///
    /// # Errors
    /// If a file is missing, unreadable or malformed, or the folder is of another model or an adapter.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self> {
        let folder = folder.as_ref();
        if !folder.join(CONFIG).is_file() {
            return Err(folder::lacks(folder, CONFIG));
        }
        let mut files = BTreeMap::new();
        for name in std::iter::once(CONFIG)
            .chain(SETTINGS_FILES)
            .chain(TOKENIZER_FILES)
        {
            let path = folder.join(name);
            if path.is_file() {
                let bytes = std::fs::read(&path).map_err(Error::read(&path))?;
                storage::check_lfs(name, &bytes)?;
                files.insert(name.to_owned(), bytes);
            }
        }
        let weights = WEIGHTS_FILES.into_iter().find(|file| folder.join(file).is_file());
        let weights = weights.ok_or_else(|| folder::lacks(folder, WEIGHTS))?;
        let (shards, entries) = storage::open(folder, weights)?;
        let checkpoint = Self::new(files, shards, entries)?;
        Ok(Checkpoint {
            folder: Some(folder.into()),
            ..checkpoint
        })
    }

    /// Opens a checkpoint from the bytes of its `config.json` and its `model.safetensors` or `pytorch_model.bin`.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_bytes(config: impl Into<Vec<u8>>, weights: impl Into<Cow<'static, [u8]>>) -> Result<Self> {
        let shard = Shard::given(WEIGHTS, weights.into());
        let entries = shard.entries(0)?;
        Self::new(
            BTreeMap::from([(CONFIG.to_owned(), config.into())]),
            vec![shard],
            entries,
        )
    }

    /// Adds a file, such as `tokenizer.json` of another folder; replaces an existing file of the same name.
    pub fn with_file(mut self, name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        self.files.insert(name.into(), bytes.into());
        self
    }

    fn new(
        files: BTreeMap<String, Vec<u8>>,
        shards: Vec<Shard>,
        entries: BTreeMap<String, Entry>,
    ) -> Result<Self> {
        let config = ModelConfig::from_json(files.get(CONFIG).map_or(&[], Vec::as_slice))?;
        check_quantized(files.get(CONFIG), &entries)?;
        let mut tensors: BTreeMap<String, Stored> = BTreeMap::new();
        let mut wrapped = None;
        for (stored, entry) in entries {
            if stored.contains(".lora_") {
                return Err(Error::UnmergedAdapter { name: stored });
            }
            let name = naming::unwrapped(&stored).unwrap_or_else(|| stored.clone());
            if name != stored {
                wrapped.get_or_insert((stored, name.clone()));
            }
            let native = naming::native(&name).unwrap_or_else(|| name.clone());
            if let Some(other) = tensors.get(&native) {
                return Err(Error::AmbiguousTensor {
                    first: other.name.clone(),
                    second: name,
                });
            }
            tensors.insert(native, Stored { name, entry });
        }
        if let Some((stored, read_as)) = wrapped {
            tracing::warn!(
                stored,
                read_as,
                "the weights were saved within a wrapper, whose names are removed"
            );
        }
        Ok(Checkpoint {
            folder: None,
            config,
            files,
            shards,
            tensors,
            deltas: BTreeMap::new(),
        })
    }

    /// Returns whether `folder` is the checkpoint's folder, possibly by another path.
    pub(crate) fn is_in(&self, folder: &Path) -> bool {
        let path = self.folder.as_ref().and_then(|path| path.canonicalize().ok());
        path.is_some() && path == folder.canonicalize().ok()
    }

    /// Returns the model's configuration.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Returns the contents of a file beside the weights, by name.
    pub(crate) fn file(&self, name: &str) -> Option<&[u8]> {
        self.files.get(name).map(Vec::as_slice)
    }

    /// Returns the weights, by native name.
    pub(crate) fn weights(&self) -> Weights<'_> {
        Weights::new(self)
    }

    /// Returns the bytes of a tensor. Its range is in bounds, as checked when the file's header was parsed.
    fn bytes(&self, entry: &Entry) -> &[u8] {
        let shard = self.shards.get(entry.shard);
        shard
            .and_then(|shard| shard.bytes().get(entry.range.clone()))
            .unwrap_or_default()
    }

    /// Returns whether the tensors have Microsoft's names.
    fn is_microsoft(&self) -> bool {
        self.tensors
            .values()
            .any(|stored| stored.name.starts_with("vision_tower."))
    }
}

/// Checks that the weights are not quantized, by the configuration and the tensors' names.
fn check_quantized(config: Option<&Vec<u8>>, entries: &BTreeMap<String, Entry>) -> Result<()> {
    if entries.values().all(|entry| storage::is_float(entry.dtype)) {
        return Ok(());
    }
    let config = config.and_then(|json| serde_json::from_slice::<Value>(json).ok());
    let method = config
        .as_ref()
        .and_then(|config| config.pointer("/quantization_config/quant_method"));
    let of_bitsandbytes = |name: &&String| name.ends_with(".absmax") || name.ends_with(".SCB");
    let method = match method.and_then(Value::as_str) {
        Some(method) => method,
        None if entries.keys().any(|name| of_bitsandbytes(&name)) => "bitsandbytes",
        None => return Ok(()),
    };
    Err(Error::Quantized {
        method: method.to_owned(),
    })
}
