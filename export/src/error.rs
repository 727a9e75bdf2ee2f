//! The crate's error type.

use std::path::{Path, PathBuf};

use florence2_layout::dtypes::Dtype;
use florence2_layout::image_size::ImageSize;
use florence2_layout::tokenizer::InvalidTokenizer;

use crate::target::Target;

/// A result with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of an export. All checks precede the first written file.
///
/// The message is without the cause, which [`source`](std::error::Error::source) returns.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The folder lacks a file that every checkpoint has.
    #[error("{} has no {file}; give the folder of a Florence-2 checkpoint: config.json and model.safetensors", folder.display())]
    NotACheckpoint {
        /// The folder.
        folder: PathBuf,
        /// The name of the missing file.
        file: &'static str,
    },
    /// There is no such folder.
    #[error("there is no folder {}; give the folder of a Florence-2 checkpoint: config.json and model.safetensors", folder.display())]
    NoFolder {
        /// The path.
        folder: PathBuf,
    },
    /// The path is a file's.
    #[error("{} is a file; give the folder that it is in", file.display())]
    NotAFolder {
        /// The path.
        file: PathBuf,
    },
    /// The folder is a PEFT adapter, which is part of a model only.
    #[error(
        "{} is a PEFT adapter ({method}) of {base}, not a whole model; give the checkpoint of {base}, and this adapter to merge \
         into it",
        folder.display()
    )]
    IsAdapter {
        /// The folder.
        folder: PathBuf,
        /// The kind of adapter, as `LORA`.
        method: String,
        /// The base model's name, as its configuration has it.
        base: String,
    },
    /// The checkpoint's weights are in another format only.
    #[error(
        "{} has its weights in {file}, in the format of {format}; load them with transformers and save them again \
         (`save_pretrained`), which writes model.safetensors",
        folder.display()
    )]
    OtherFormat {
        /// The folder.
        folder: PathBuf,
        /// The file's name.
        file: String,
        /// What the format is of.
        format: &'static str,
    },
    /// The configuration is another architecture's.
    #[error("config.json is of a model of type {model_type}; the type florence2 is exported")]
    Architecture {
        /// The setting `model_type`.
        model_type: String,
    },
    /// The weights are quantized already.
    #[error(
        "the checkpoint's weights are quantized by {method}; give the checkpoint that was quantized: the export quantizes it if \
         asked for"
    )]
    Quantized {
        /// The library or method, as `bitsandbytes`.
        method: String,
    },
    /// The tensors' names are those of a PEFT model whose adapter is not merged.
    #[error(
        "the checkpoint has {name}, a weight of an adapter that is not merged; save the model after `merge_and_unload()`"
    )]
    UnmergedAdapter {
        /// The tensor.
        name: String,
    },
    /// The folder lacks a file that every adapter has.
    #[error("{} has no {file}; give the folder of a PEFT adapter: adapter_config.json and adapter_model.safetensors", folder.display())]
    NotAnAdapter {
        /// The folder.
        folder: PathBuf,
        /// The name of the missing file.
        file: &'static str,
    },
    /// The adapter needs more than LoRA.
    #[error(
        "the adapter uses {feature}, which cannot be merged here; merge it with PEFT (`merge_and_unload`) and export the result"
    )]
    AdapterFeature {
        /// The method or setting.
        feature: String,
    },
    /// A pattern of the adapter's configuration is not a valid regular expression.
    #[error("adapter_config.json: the pattern {pattern:?} cannot be read")]
    AdapterPattern {
        /// The pattern.
        pattern: String,
        /// The parser's error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The adapter changes a weight that the checkpoint does not have.
    #[error("the adapter changes {name}, which the checkpoint does not have; it is another model's")]
    AdapterModule {
        /// The weight.
        name: String,
    },
    /// The factors of an adapter do not make the shape of the weight that they change.
    #[error(
        "the adapter's factors for {name} have shapes {factors:?}, which at rank {rank} do not make {shape:?}; the adapter is \
         another model's, or of a convolution in groups, which PEFT cannot merge either"
    )]
    AdapterShape {
        /// The weight.
        name: String,
        /// Its shape.
        shape: Vec<usize>,
        /// The shapes of the factors.
        factors: [Vec<usize>; 2],
        /// The rank by the configuration.
        rank: usize,
    },
    /// A file is a Git LFS pointer.
    #[error("{file} is a Git LFS pointer, not the file itself; fetch the file (`git lfs pull`)")]
    LfsPointer {
        /// The file's name.
        file: String,
    },
    /// A file of the checkpoint could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A file could not be written.
    #[error("cannot write {}; check the free space and the permissions there", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A JSON file is malformed or lacks a setting.
    #[error("{file} is not valid; fetch the checkpoint again, or correct the file")]
    Json {
        /// The file's name.
        file: String,
        /// The parser's error.
        source: serde_json::Error,
    },
    /// The configuration is inconsistent or has an unsupported value.
    #[error("config.json: {key}: {reason}")]
    Config {
        /// The setting.
        key: &'static str,
        /// The problem and the valid values.
        reason: String,
    },
    /// A safetensors file is malformed.
    #[error("{file} is not a valid safetensors file; fetch it again")]
    Safetensors {
        /// The file's name.
        file: String,
        /// The parser's error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A file of `torch.save` is malformed, or needs code to be run.
    #[error("{file} cannot be read as weights of PyTorch")]
    Pytorch {
        /// The file's name.
        file: String,
        /// The problem.
        source: PytorchError,
    },
    /// The index of a sharded checkpoint contradicts its shards.
    #[error("{index} places {tensor} in {shard}, where it is not; fetch that file again")]
    ShardIndex {
        /// The name of the index.
        index: &'static str,
        /// The tensor.
        tensor: String,
        /// The shard that should hold it.
        shard: String,
    },
    /// The checkpoint has a weight under two names.
    #[error(
        "the checkpoint has {first} and {second}, which are the same weight in two namings; keep one of them"
    )]
    AmbiguousTensor {
        /// One name.
        first: String,
        /// The other.
        second: String,
    },
    /// A weight is missing.
    #[error(
        "the checkpoint has no tensor {name} (shape {shape:?}); it is incomplete, or config.json is another model's"
    )]
    MissingTensor {
        /// Its name, in the checkpoint's naming.
        name: String,
        /// The shape according to the configuration.
        shape: Vec<usize>,
    },
    /// The decoder has another embedding matrix than the encoder; deployments have one.
    #[error(
        "{first} and {second} differ, but deployments have one embedding matrix for encoder and decoder; tie them"
    )]
    SeparateEmbeddings {
        /// One matrix.
        first: String,
        /// The other.
        second: String,
    },
    /// A weight's shape differs from the configuration.
    #[error(
        "tensor {name} has shape {found:?}, but config.json asks for {expected:?}; one of the two is another model's"
    )]
    TensorShape {
        /// Its name, in the checkpoint's naming.
        name: String,
        /// The shape according to the configuration.
        expected: Vec<usize>,
        /// The shape in the checkpoint.
        found: Vec<usize>,
    },
    /// A weight has an unsupported element type.
    #[error(
        "tensor {name} holds {dtype}; f32, f16, bf16 and f64 are read; save the checkpoint in one of these"
    )]
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
        /// The problem and the valid sizes.
        reason: String,
    },
    /// The target does not have a requested graph.
    #[error("the export target has no graph {graph}; leave out `graphs` for all graphs of the target")]
    NotInTarget {
        /// The graph's name.
        graph: &'static str,
    },
    /// The target cannot be exported in the requested dtype.
    #[error(
        "the export target {} has no {}; its dtypes: {}",
        target.name(),
        dtype.name(),
        target.dtypes().iter().map(|dtype| dtype.name()).collect::<Vec<_>>().join(", ")
    )]
    DtypeNotInTarget {
        /// The target.
        target: Target,
        /// The requested dtype.
        dtype: Dtype,
    },
    /// Inputs and outputs in float16 were requested for graphs that compute in float32.
    #[error("inputs and outputs in float16 are for the dtypes fp16 and q4f16, not {}", dtype.name())]
    NoFloat16 {
        /// The requested dtype.
        dtype: Dtype,
    },
    /// A `keep_fp32` pattern matches no weight that would be stored in another dtype.
    #[error("{pattern:?} matches no weight of another dtype than fp32; patterns are parts of names like these: {}", names.join(", "))]
    KeepFp32 {
        /// The pattern.
        pattern: String,
        /// The names of weights, with `*` for numbers.
        names: Vec<String>,
    },
    /// The activation ranges are incomplete or belong to another checkpoint.
    #[error(
        "the activation ranges have {found} channels for {module}, not {expected}: record the outputs of graphs of this \
         checkpoint with observers"
    )]
    ActivationRanges {
        /// The observed module.
        module: String,
        /// The number of its output channels.
        expected: usize,
        /// The number of recorded channels; 0 if the module was not recorded.
        found: usize,
    },
    /// The target does not support calibration.
    #[error("observers and activation ranges are for quantized graphs: the export target {} has none", target.name())]
    NoCalibration {
        /// The target.
        target: Target,
    },
    /// The output folder is the checkpoint's folder.
    #[error("{} is the checkpoint's own folder; export to another one", folder.display())]
    IntoCheckpoint {
        /// The folder.
        folder: PathBuf,
    },
    /// A graph with all weights inside would exceed protobuf's limit of 2 GiB.
    #[error(
        "{graph} would have {bytes} bytes inside one file, over protobuf's 2 GiB; lower `external_data_threshold`"
    )]
    GraphTooLarge {
        /// The graph.
        graph: &'static str,
        /// Bytes of its weights.
        bytes: u64,
    },
    /// The tokenizer's files are malformed or incomplete.
    #[error(transparent)]
    Tokenizer(#[from] InvalidTokenizer),
}

/// A problem of a file of `torch.save`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PytorchError {
    /// The file has the format of PyTorch before 1.6.
    #[error("it has the format of PyTorch before 1.6; load it with `torch.load` and save it again")]
    Legacy,
    /// The archive is damaged.
    #[error("it is not a whole zip archive")]
    Archive(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Several files of the archive have the same name.
    #[error("several files inside have the same name")]
    DuplicateNames,
    /// A file of the archive is missing.
    #[error("it has no {0} inside")]
    Missing(String),
    /// A file of the archive is compressed or encrypted, which `torch.save` never does.
    #[error("{0} inside is compressed or encrypted, as `torch.save` never leaves it")]
    Compressed(String),
    /// The values are big-endian.
    #[error("its values are big-endian; save it again on a little-endian machine")]
    BigEndian,
    /// The pickle ends early.
    #[error("its pickle is truncated")]
    Truncated,
    /// The pickle has an opcode that weights do not need.
    #[error("its pickle has the opcode {0:#04x}, which weights do not need; nothing of it was run")]
    Opcode(u8),
    /// The pickle names a class or function that weights do not need.
    #[error("its pickle names {name}, which weights do not need; nothing of it was run")]
    Global {
        /// The module and the name.
        name: String,
    },
    /// The pickle contradicts itself.
    #[error("its pickle is malformed: {0}")]
    Malformed(&'static str),
    /// The pickled value is not a dictionary.
    #[error("it holds no dictionary of weights; save `model.state_dict()`")]
    NoWeights,
    /// The weights are inside another dictionary.
    #[error("it holds another dictionary as {key:?}; save that alone if it has the weights")]
    Nested {
        /// The key.
        key: String,
    },
    /// A tensor is not within its storage.
    #[error("tensor {0} leads out of its storage")]
    OutOfBounds(String),
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
