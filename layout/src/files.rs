//! Names of the files beside the graphs, in checkpoints and deployments.

/// The model's configuration: dimensions of the vision encoder and the language model.
pub const CONFIG: &str = "config.json";
/// Generation settings: beams, lengths, special tokens.
pub const GENERATION_CONFIG: &str = "generation_config.json";
/// Settings of the image processor; in Microsoft's and the onnx-community's repositories also the tasks' prompts.
pub const PREPROCESSOR_CONFIG: &str = "preprocessor_config.json";
/// Settings of transformers' processor. transformers 5 saves the image processor's settings here, under
/// [`IMAGE_PROCESSOR`], instead of in [`PREPROCESSOR_CONFIG`].
pub const PROCESSOR_CONFIG: &str = "processor_config.json";
/// The section of [`PROCESSOR_CONFIG`] with the settings of the image processor.
pub const IMAGE_PROCESSOR: &str = "image_processor";
/// The complete tokenizer, in the format of `tokenizers`.
pub const TOKENIZER: &str = "tokenizer.json";
/// The tokenizer's class and its special tokens.
pub const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
/// The names of the tokenizer's special tokens, as `bos_token`.
pub const SPECIAL_TOKENS_MAP: &str = "special_tokens_map.json";
/// The tokens added to [`VOCABULARY`], with their ids.
pub const ADDED_TOKENS: &str = "added_tokens.json";
/// The vocabulary, for a tokenizer without [`TOKENIZER`].
pub const VOCABULARY: &str = "vocab.json";
/// The byte-pair merges, for a tokenizer without [`TOKENIZER`].
pub const MERGES: &str = "merges.txt";
/// A checkpoint's weights in one file.
pub const WEIGHTS: &str = "model.safetensors";
/// The shard of each tensor, for a checkpoint in several files.
pub const WEIGHTS_INDEX: &str = "model.safetensors.index.json";
/// A checkpoint's weights in one file, in the format of `torch.save`.
pub const PYTORCH_WEIGHTS: &str = "pytorch_model.bin";
/// The shard of each tensor, for a checkpoint in several files of `torch.save`.
pub const PYTORCH_WEIGHTS_INDEX: &str = "pytorch_model.bin.index.json";
/// The files with a checkpoint's weights or the list of their shards; the first one found is read.
pub const WEIGHTS_FILES: [&str; 4] = [WEIGHTS, WEIGHTS_INDEX, PYTORCH_WEIGHTS, PYTORCH_WEIGHTS_INDEX];
/// The end of the names of [`WEIGHTS_INDEX`] and [`PYTORCH_WEIGHTS_INDEX`].
pub const INDEX_SUFFIX: &str = ".index.json";
/// The configuration of a PEFT adapter.
pub const ADAPTER_CONFIG: &str = "adapter_config.json";
/// The files with a PEFT adapter's weights; the first one found is read.
pub const ADAPTER_WEIGHTS_FILES: [&str; 2] = ["adapter_model.safetensors", "adapter_model.bin"];
/// The first bytes of a Git LFS pointer, which `git clone` without Git LFS leaves in place of a large file.
pub const LFS_POINTER: &[u8] = b"version https://git-lfs.github.com/";

/// The table of the deployment's own names for graph files and tensors
/// ([`DeploymentNames`](crate::names::DeploymentNames)), in deployments that have one.
pub const NAMES: &str = "florence2.json";

/// The tokenizer's files.
pub const TOKENIZER_FILES: [&str; 6] = [
    TOKENIZER,
    TOKENIZER_CONFIG,
    SPECIAL_TOKENS_MAP,
    ADDED_TOKENS,
    VOCABULARY,
    MERGES,
];

/// The small files that a model may have besides [`CONFIG`] and [`TOKENIZER_FILES`].
pub const SETTINGS_FILES: [&str; 3] = [PREPROCESSOR_CONFIG, PROCESSOR_CONFIG, GENERATION_CONFIG];
