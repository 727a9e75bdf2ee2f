//! Loads a model from files in memory: of an archive, a database, or the program itself (`include_bytes!`).
//!
//! ```text
//! cargo run --release --example from_memory -- MODEL_FOLDER IMAGE
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use anyhow::bail;
use florence2::bundle::Bytes;
use florence2::{BundleSource, Florence2, LoadOptions, Task, load_image};

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, image] = arguments.as_slice() else {
        bail!("give a model folder and an image");
    };

    // `Bytes` also converts from `&'static [u8]` and `Arc<[u8]>` without a copy.
    let mut files = BTreeMap::new();
    for folder in ["", "onnx"] {
        read(Path::new(model), folder, &mut files)?;
    }
    let source = BundleSource::Memory {
        name: "my model".into(),
        files,
    };

    let model = Florence2::load(source, LoadOptions::default())?;
    let image = load_image(image)?;
    let output = model.run(&image, &Task::Caption)?;
    println!("{}", output.parsed.text().unwrap_or_default());
    Ok(())
}

/// Reads the files of a model's subfolder, including graphs' external data.
fn read(model: &Path, folder: &str, files: &mut BTreeMap<String, Bytes>) -> io::Result<()> {
    for entry in fs::read_dir(model.join(folder))? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = match folder {
                "" => name,
                folder => format!("{folder}/{name}"),
            };
            files.insert(path, fs::read(entry.path())?.into());
        }
    }
    Ok(())
}
