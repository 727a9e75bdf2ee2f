//! Names of the files beside the graphs, in checkpoints and deployments alike.

/// The model's dimensions.
pub const CONFIG: &str = "config.json";
/// Settings of the search.
pub const GENERATION_CONFIG: &str = "generation_config.json";
/// How pixels are prepared; in Microsoft's and the onnx-community's repositories also the tasks' prompts.
pub const PREPROCESSOR_CONFIG: &str = "preprocessor_config.json";
/// The processor's settings; transformers 5 keeps those of [`PREPROCESSOR_CONFIG`] here, under
/// [`IMAGE_PROCESSOR`].
pub const PROCESSOR_CONFIG: &str = "processor_config.json";
/// The section of [`PROCESSOR_CONFIG`] that says how pixels are prepared.
pub const IMAGE_PROCESSOR: &str = "image_processor";
/// The whole tokenizer.
pub const TOKENIZER: &str = "tokenizer.json";
/// Which class loads the tokenizer, and its special tokens.
pub const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
/// The tokenizer's special tokens.
pub const SPECIAL_TOKENS_MAP: &str = "special_tokens_map.json";
/// The tokens added to the vocabulary.
pub const ADDED_TOKENS: &str = "added_tokens.json";
/// The vocabulary, where there is no [`TOKENIZER`].
pub const VOCABULARY: &str = "vocab.json";
/// The merges of byte-pair encoding, where there is no [`TOKENIZER`].
pub const MERGES: &str = "merges.txt";
/// A checkpoint's weights in one file.
pub const WEIGHTS: &str = "model.safetensors";
/// Which tensor is in which of several files of weights.
pub const WEIGHTS_INDEX: &str = "model.safetensors.index.json";

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
