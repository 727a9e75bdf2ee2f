//! The one error type.

use std::path::{Path, PathBuf};

use florence2_layout::dtypes::Dtype;
use florence2_layout::image_size::ImageSize;
use florence2_layout::tokenizer::InvalidTokenizer;

use crate::target::Target;

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong while exporting. Nothing is written before everything that can be checked has been.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The folder lacks a file without which there is no checkpoint.
    #[error("{} has no {file}. Give the folder of a Florence-2 checkpoint: config.json and model.safetensors.", folder.display())]
    NotACheckpoint {
        /// The folder that was given.
        folder: PathBuf,
        /// What is missing in it.
        file: &'static str,
    },
    /// A file of the checkpoint could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file could not be written.
    #[error("cannot write {}: {source}. Check the free space and the permissions there.", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A JSON file is damaged, or lacks a setting.
    #[error("{file} is not valid: {source}. Fetch the checkpoint again, or correct the file.")]
    Json {
        /// The file's name.
        file: String,
        /// Where and what.
        source: serde_json::Error,
    },
    /// The configuration contradicts itself or names something that is not supported.
    #[error("config.json: {key}: {reason}")]
    Config {
        /// The setting.
        key: &'static str,
        /// What is wrong with it, and what would be right.
        reason: String,
    },
    /// A safetensors file is damaged.
    #[error("{file} is not a whole safetensors file: {source}. Fetch it again.")]
    Safetensors {
        /// The file's name.
        file: String,
        /// What is wrong with it.
        source: safetensors::SafeTensorError,
    },
    /// The index of a sharded checkpoint is at odds with its shards.
    #[error(
        "model.safetensors.index.json places {tensor} in {shard}, where it is not. Fetch that file again."
    )]
    ShardIndex {
        /// The tensor.
        tensor: String,
        /// The shard that should hold it.
        shard: String,
    },
    /// Two names of the checkpoint stand for one weight.
    #[error(
        "the checkpoint has {first} and {second}, which are the same weight in two namings. Keep one of them."
    )]
    AmbiguousTensor {
        /// One name.
        first: String,
        /// The other.
        second: String,
    },
    /// A weight is not in the checkpoint.
    #[error(
        "the checkpoint has no tensor {name} (shape {shape:?}). It is incomplete, or config.json is another model's."
    )]
    MissingTensor {
        /// Its name, in the checkpoint's naming.
        name: String,
        /// The shape that the configuration asks for.
        shape: Vec<usize>,
    },
    /// The decoder embeds tokens by a matrix of its own, which no graph of the layout could hold.
    #[error(
        "{first} and {second} differ, but deployments have one embedding graph for both sides. Tie them."
    )]
    SeparateEmbeddings {
        /// One matrix.
        first: String,
        /// The other.
        second: String,
    },
    /// A weight has another shape than the configuration says.
    #[error(
        "tensor {name} has shape {found:?}, but config.json asks for {expected:?}. One of the two is another model's."
    )]
    TensorShape {
        /// Its name, in the checkpoint's naming.
        name: String,
        /// By the configuration.
        expected: Vec<usize>,
        /// In the checkpoint.
        found: Vec<usize>,
    },
    /// A weight has an element type that is not read.
    #[error("tensor {name} holds {dtype}; f32, f16 and bf16 are read. Save the checkpoint in one of these.")]
    TensorType {
        /// Its name, in the checkpoint's naming.
        name: String,
        /// Its element type.
        dtype: String,
    },
    /// The model cannot take images of this size.
    #[error("image size {}x{}: {reason}", size.width, size.height)]
    ImageSize {
        /// The size.
        size: ImageSize,
        /// Why, and what would do.
        reason: String,
    },
    /// A graph was asked for that the target does not have.
    #[error("the export target has no graph {graph}; leave out `graphs` for all that it has")]
    NotInTarget {
        /// The graph's name.
        graph: &'static str,
    },
    /// The target has no graphs of this dtype.
    #[error(
        "the export target {} has no {}; its dtypes: {}",
        target.name(),
        dtype.name(),
        target.dtypes().iter().map(|dtype| dtype.name()).collect::<Vec<_>>().join(", ")
    )]
    DtypeNotInTarget {
        /// The target.
        target: Target,
        /// The dtype that was asked for.
        dtype: Dtype,
    },
    /// Inputs and outputs of 16-bit floats were asked for, of graphs that compute in others.
    #[error("inputs and outputs in float16 are for the dtypes fp16 and q4f16, not {}", dtype.name())]
    NoFloat16 {
        /// The dtype that was asked for.
        dtype: Dtype,
    },
    /// A pattern of weights to keep in fp32 fits none that would be stored otherwise.
    #[error("nothing that is not in fp32 anyway is part of {pattern:?}. Patterns are parts of names like these: {}", names.join(", "))]
    KeepFp32 {
        /// The pattern.
        pattern: String,
        /// What there is, `*` for any number.
        names: Vec<String>,
    },
    /// What was recorded of activations is not of this checkpoint, or incomplete.
    #[error(
        "the activation ranges have {found} channels for {module}, not {expected}: record what graphs of this checkpoint \
         with observers give"
    )]
    ActivationRanges {
        /// The module whose result was to be observed.
        module: String,
        /// Its channels.
        expected: usize,
        /// Channels recorded; 0 if there is nothing.
        found: usize,
    },
    /// The target knows no calibration.
    #[error("observers and activation ranges are for quantised graphs: the export target {} has none", target.name())]
    NoCalibration {
        /// The target.
        target: Target,
    },
    /// The deployment would overwrite files of the checkpoint.
    #[error("{} is the checkpoint's own folder; export to another one", folder.display())]
    IntoCheckpoint {
        /// The folder.
        folder: PathBuf,
    },
    /// A graph with all weights inside would exceed what protobuf can hold.
    #[error(
        "{graph} would have {bytes} bytes inside one file, over protobuf's 2 GiB. Lower `external_data_threshold`."
    )]
    GraphTooLarge {
        /// The graph.
        graph: &'static str,
        /// Bytes of its weights.
        bytes: u64,
    },
    /// The tokenizer's files are damaged or incomplete.
    #[error("tokenizer: {0}")]
    Tokenizer(#[from] InvalidTokenizer),
}

impl Error {
    /// Returns the constructor of [`Error::Read`] for `path`.
    pub(crate) fn read(path: &Path) -> impl Fn(std::io::Error) -> Error + '_ {
        |source| Error::Read {
            path: path.into(),
            source,
        }
    }

    /// Returns the constructor of [`Error::Write`] for `path`.
    pub(crate) fn write(path: &Path) -> impl Fn(std::io::Error) -> Error + '_ {
        |source| Error::Write {
            path: path.into(),
            source,
        }
    }

    /// Returns the constructor of [`Error::Json`] for the file named `file`.
    pub(crate) fn json(file: &str) -> impl Fn(serde_json::Error) -> Error + '_ {
        |source| Error::Json {
            file: file.into(),
            source,
        }
    }
}
