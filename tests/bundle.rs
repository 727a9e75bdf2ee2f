//! Model folders that are not what they should be: each a clear error, never a panic.

mod common;

use std::fs;
use std::path::Path;

use common::golden::{checkpoint, exported};
use florence2::{Bundle, BundleSource, Error, Florence2, LoadOptions};
use florence2_export::GraphFile;

const SINGLE: [GraphFile; 4] = [
    GraphFile::VisionEncoder,
    GraphFile::EmbedTokens,
    GraphFile::EncoderModel,
    GraphFile::DecoderModelMerged,
];

fn load(folder: &Path) -> Result<Florence2, Error> {
    common::runtime();
    Florence2::from_pretrained(folder, LoadOptions::default())
}

/// The error of loading `folder`, as a person reads it: with its causes.
fn message(folder: &Path) -> String {
    let Err(error) = load(folder) else {
        panic!("{} was taken for a model", folder.display())
    };
    let mut message = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        message = format!("{message}: {error}");
        cause = error.source();
    }
    message
}

#[test]
fn what_is_no_model_folder() {
    let folder = tempfile::tempdir().unwrap();
    let absent = folder.path().join("absent");
    assert!(matches!(load(&absent), Err(Error::Io { path, .. }) if path == absent));
    let file = folder.path().join("file");
    fs::write(&file, "not a folder").unwrap();
    assert!(matches!(load(&file), Err(Error::Io { .. })));
    let empty = message(folder.path());
    for missing in [
        "vision_encoder.onnx",
        "decoder_model_merged.onnx",
        "config.json",
        "tokenizer.json",
    ] {
        assert!(empty.contains(missing), "{empty}");
    }
}

#[test]
fn a_checkpoint_that_was_not_exported() {
    let message = message(&checkpoint("base-like"));
    assert!(message.contains("export it first"), "{message}");
}

#[test]
fn half_a_model() {
    let folder = exported("base-like", &SINGLE);
    for file in [
        "onnx/embed_tokens.onnx",
        "onnx/decoder_model_merged.onnx",
        "tokenizer.json",
        "config.json",
    ] {
        let (path, aside) = (folder.path().join(file), folder.path().join("aside"));
        fs::rename(&path, &aside).unwrap();
        let name = Path::new(file).file_name().unwrap().to_str().unwrap();
        let message = message(folder.path());
        assert!(message.contains(&format!("missing: {name}")), "{message}");
        fs::rename(&aside, &path).unwrap();
    }
    // What a model can do without is made up for.
    for file in ["generation_config.json", "processor_config.json"] {
        fs::remove_file(folder.path().join(file)).unwrap();
    }
    load(folder.path()).unwrap();
}

#[test]
fn damaged_files() {
    let folder = exported("base-like", &SINGLE);
    for file in [
        "onnx/vision_encoder.onnx",
        "onnx/encoder_model.onnx",
        "tokenizer.json",
        "config.json",
    ] {
        let path = folder.path().join(file);
        let whole = fs::read(&path).unwrap();
        for length in [0, 1, 100, whole.len() / 2, whole.len() - 2] {
            fs::write(&path, &whole[..length]).unwrap();
            let message = message(folder.path());
            let stem = path.file_stem().unwrap().to_str().unwrap();
            assert!(message.contains(stem), "{file} cut to {length} bytes: {message}");
        }
        fs::write(&path, &whole).unwrap();
    }
    load(folder.path()).unwrap();
}

/// ONNX Runtime refuses some of the merged decoders that are deployed.
#[test]
fn a_merged_decoder_that_is_refused_gives_way_to_the_other_decoders() {
    let folder = exported("base-like", &GraphFile::PLAIN);
    let onnx = folder.path().join("onnx");
    fs::write(onnx.join("decoder_model_merged.onnx"), "no graph").unwrap();
    load(folder.path()).unwrap();
    fs::write(onnx.join("decoder_with_past_model.onnx"), "no graph").unwrap();
    let message = message(folder.path());
    assert!(message.contains("decoder_with_past_model"), "{message}");
}

#[test]
fn graphs_in_each_others_place() {
    let folder = exported("base-like", &SINGLE);
    let onnx = folder.path().join("onnx");
    fs::copy(onnx.join("encoder_model.onnx"), onnx.join("vision_encoder.onnx")).unwrap();
    let message = message(folder.path());
    assert!(
        message.contains("vision_encoder") && message.contains("pixel_values"),
        "{message}"
    );
}

#[test]
fn a_processor_that_makes_another_size() {
    let folder = exported("base-like", &SINGLE);
    let path = folder.path().join("preprocessor_config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    config["size"] = serde_json::json!({"height": 64, "width": 64});
    config["crop_size"] = config["size"].clone();
    fs::write(&path, config.to_string()).unwrap();
    let message = message(folder.path());
    assert!(
        message.contains("96x96") && message.contains("64x64"),
        "{message}"
    );
}

#[test]
fn graphs_beside_the_configuration() {
    let folder = exported("base-like", &SINGLE);
    for graph in SINGLE {
        let name = format!("{}.onnx", graph.name());
        fs::rename(folder.path().join("onnx").join(&name), folder.path().join(&name)).unwrap();
    }
    load(folder.path()).unwrap();
}

#[test]
fn a_bundle_tells_what_it_lacks() {
    let folder = exported("base-like", &[GraphFile::VisionEncoder]);
    let bundle = Bundle::open(BundleSource::Folder(folder.path().into())).unwrap();
    let missing = bundle.missing();
    assert_eq!(missing.len(), 3, "{missing:?}");
    assert!(matches!(bundle.check(), Err(Error::InvalidBundle { .. })));
}
