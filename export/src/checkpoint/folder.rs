//! What a folder is that is not a checkpoint.

use std::path::Path;

use florence2_layout::files::ADAPTER_CONFIG;
use serde_json::Value;

use crate::error::Error;

/// Ends of the names of weights in formats that are not read, and what they are of.
const OTHER_FORMATS: [(&str, &str); 6] = [
    ("tf_model.h5", "TensorFlow"),
    ("flax_model.msgpack", "Flax"),
    (".gguf", "llama.cpp"),
    (".ckpt", "a training checkpoint"),
    (".pt", "PyTorch, under a name of its own"),
    (".pth", "PyTorch, under a name of its own"),
];

/// Returns the error for a folder without `file`, which every checkpoint has.
pub(super) fn lacks(folder: &Path, file: &'static str) -> Error {
    if folder.is_file() {
        return Error::NotAFolder { file: folder.into() };
    }
    if !folder.is_dir() {
        return Error::NoFolder {
            folder: folder.into(),
        };
    }
    if folder.join(ADAPTER_CONFIG).is_file() {
        return is_adapter(folder);
    }
    let names = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let names = names.filter_map(|entry| entry.file_name().into_string().ok());
    let other = names.filter_map(|name| {
        let (_, format) = OTHER_FORMATS.iter().find(|(end, _)| name.ends_with(end))?;
        Some((name, *format))
    });
    match other.min() {
        Some((file, format)) => Error::OtherFormat {
            folder: folder.into(),
            file,
            format,
        },
        None => Error::NotACheckpoint {
            folder: folder.into(),
            file,
        },
    }
}

/// Returns the error for an adapter in place of a checkpoint.
fn is_adapter(folder: &Path) -> Error {
    let config = std::fs::read(folder.join(ADAPTER_CONFIG)).unwrap_or_default();
    let config: Value = serde_json::from_slice(&config).unwrap_or_default();
    let text = |key: &str, default: &str| {
        config
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or(default)
            .to_owned()
    };
    Error::IsAdapter {
        folder: folder.into(),
        method: text("peft_type", "of an unnamed kind"),
        base: text(
            "base_model_name_or_path",
            "a model that its configuration does not name",
        ),
    }
}
