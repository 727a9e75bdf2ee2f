//! The demo model of the `florence2` crate: a Florence-2 checkpoint of 5 million parameters, which knows drawn shapes and signs,
//! and sample scenes. `Florence2::demo` of `florence2` (feature `demo`) loads it.
//!
//! The constants are the contents of files; a program contains those that it uses.
#![no_std]
#![warn(missing_docs)]

/// A file.
#[derive(Debug, Clone, Copy)]
pub struct File {
    /// The file's name.
    pub name: &'static str,
    /// The file's contents.
    pub bytes: &'static [u8],
}

macro_rules! files {
    ($folder:literal: $($name:literal),+ $(,)?) => {
        [$(File { name: $name, bytes: include_bytes!(concat!("../", $folder, "/", $name)) }),+]
    };
}

/// `config.json`.
pub const CONFIG: &[u8] = include_bytes!("../checkpoint/config.json");

/// `model.safetensors`: the weights, in f16, by the names of transformers.
pub const WEIGHTS: &[u8] = include_bytes!("../checkpoint/model.safetensors");

/// The checkpoint's other files.
pub const OTHER_FILES: [File; 5] = files!["checkpoint":
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
];

/// Sample scenes that the model was not trained on.
pub const SCENES: [File; 4] = files!["scenes": "hotel.jpg", "ring.png", "car.png", "open.png"];
