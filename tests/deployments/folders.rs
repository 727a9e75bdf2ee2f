//! Invalid model folders: each is a clear error, never a panic.

use std::fs;
use std::path::Path;

use florence2::bundle::{Dtype, LayoutKind};
use florence2::{Bundle, BundleSource, Error, Florence2, LoadOptions};
use florence2_export::GraphFile;

use crate::common::golden::{checkpoint, exported};
use crate::common::graphs::MERGED;
use crate::common::with_causes;

fn load(folder: &Path) -> Result<Florence2, Error> {
    crate::common::runtime();
    Florence2::from_pretrained(folder, LoadOptions::default())
}

/// Returns the error of loading `folder`, with its causes.
fn message(folder: &Path) -> String {
    let Err(error) = load(folder) else {
        panic!("{} was taken for a model", folder.display())
    };
    with_causes(&error)
}

#[test]
fn folders_without_a_model() {
    let folder = tempfile::tempdir().unwrap();
    let absent = folder.path().join("absent");
    assert!(matches!(load(&absent), Err(Error::UnknownModel { name }) if absent == Path::new(&name)));
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
fn incomplete_models() {
    let folder = exported("base-like", &MERGED);
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
    // Optional files may be missing.
    for file in ["generation_config.json", "processor_config.json"] {
        fs::remove_file(folder.path().join(file)).unwrap();
    }
    load(folder.path()).unwrap();
}

#[test]
fn damaged_files() {
    let folder = exported("base-like", &MERGED);
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

/// Git LFS pointers, which `git clone` writes for large files if Git LFS is not installed.
#[test]
fn git_lfs_pointers_instead_of_graphs() {
    let folder = exported("base-like", &MERGED);
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n";
    fs::write(folder.path().join("onnx/vision_encoder.onnx"), pointer).unwrap();
    let message = message(folder.path());
    assert!(
        message.contains("vision_encoder") && message.contains("git lfs pull"),
        "{message}"
    );
}

/// ONNX Runtime rejects some published merged decoders.
#[test]
fn the_other_decoders_replace_a_rejected_merged_decoder() {
    let folder = exported("base-like", &GraphFile::PLAIN);
    let onnx = folder.path().join("onnx");
    fs::write(onnx.join("decoder_model_merged.onnx"), "no graph").unwrap();
    load(folder.path()).unwrap();
    fs::write(onnx.join("decoder_with_past_model.onnx"), "no graph").unwrap();
    let message = message(folder.path());
    assert!(message.contains("decoder_with_past_model"), "{message}");
}

#[test]
fn swapped_graphs() {
    let folder = exported("base-like", &MERGED);
    let onnx = folder.path().join("onnx");
    fs::copy(onnx.join("encoder_model.onnx"), onnx.join("vision_encoder.onnx")).unwrap();
    let message = message(folder.path());
    assert!(
        message.contains("vision_encoder") && message.contains("pixel_values"),
        "{message}"
    );
}

#[test]
fn an_image_processor_with_another_size() {
    let folder = exported("base-like", &MERGED);
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
    let folder = exported("base-like", &MERGED);
    for graph in MERGED {
        let name = format!("{}.onnx", graph.name());
        fs::rename(folder.path().join("onnx").join(&name), folder.path().join(&name)).unwrap();
    }
    load(folder.path()).unwrap();
}

#[test]
fn a_bundle_lists_its_missing_files() {
    let folder = exported("base-like", &[GraphFile::VisionEncoder]);
    let bundle = Bundle::open(BundleSource::Folder(folder.path().into())).unwrap();
    let missing = bundle.missing();
    assert_eq!(missing.len(), 3, "{missing:?}");
    assert!(matches!(bundle.check(), Err(Error::IncompleteModel { missing, .. }) if missing.len() == 3));
}

/// Replaces a tensor's name by another of the same length.
fn rename(graph: &Path, name: &str, other: &str) {
    assert_eq!(name.len(), other.len());
    let mut bytes = fs::read(graph).unwrap();
    let found: Vec<usize> = bytes
        .windows(name.len())
        .enumerate()
        .filter_map(|(at, window)| (window == name.as_bytes()).then_some(at))
        .collect();
    assert!(!found.is_empty(), "{name}");
    for at in found {
        bytes[at..at + name.len()].copy_from_slice(other.as_bytes());
    }
    fs::write(graph, bytes).unwrap();
}

#[test]
fn the_fused_layout_is_used_if_it_is_complete() {
    let folder = exported("base-like", &GraphFile::FUSED);
    let text_encoder = folder.path().join("onnx/text_encoder.onnx");
    let aside = folder.path().join("aside");
    load(folder.path()).unwrap();
    fs::rename(&text_encoder, &aside).unwrap();
    let message = message(folder.path());
    assert!(message.contains("missing: text_encoder.onnx;"), "{message}");
    // The other layout, beside the rest of this one.
    let plain = exported("base-like", &MERGED[1..]);
    for graph in &MERGED[1..] {
        let name = format!("onnx/{}.onnx", graph.name());
        fs::copy(plain.path().join(&name), folder.path().join(&name)).unwrap();
    }
    let bundle = |folder: &Path| Bundle::open(BundleSource::Folder(folder.into())).unwrap();
    assert_eq!(bundle(folder.path()).layout.kind(), Some(LayoutKind::Plain));
    load(folder.path()).unwrap();
    fs::rename(&aside, &text_encoder).unwrap();
    assert_eq!(bundle(folder.path()).layout.kind(), Some(LayoutKind::Fused));
}

#[test]
fn graphs_are_taken_by_dtype() {
    let folder = exported("base-like", &GraphFile::FUSED);
    let onnx = folder.path().join("onnx");
    for graph in GraphFile::FUSED {
        let name = |suffix: &str| onnx.join(format!("{}{suffix}.onnx", graph.name()));
        fs::rename(name(""), name("_q4")).unwrap();
    }
    load(folder.path()).unwrap();
    let wanted = |dtype: &str| {
        let options = LoadOptions::default().with_dtype(dtype.parse().unwrap());
        Florence2::from_pretrained(folder.path(), options)
    };
    wanted("q4").unwrap();
    let error = wanted("q4,text=int8").unwrap_err();
    let Error::DtypeNotFound { missing, offered, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(missing, &["text_encoder_int8.onnx"]);
    assert_eq!(offered, &[Dtype::Q4]);
}

#[test]
fn an_invalid_decoder_step() {
    let folder = exported("base-like", &GraphFile::FUSED);
    let decoder_step = folder.path().join("onnx/decoder_step.onnx");
    let whole = fs::read(&decoder_step).unwrap();
    for (name, other, reason) in [
        (
            "present.0.decoder.key",
            "another.0.decoder.key",
            "it has no output \"present.0.decoder.key\"",
        ),
        (
            "present.1.decoder.value",
            "another.1.decoder.value",
            "it has no output \"present.1.decoder.value\"",
        ),
        (
            "past_key_values.1.encoder.key",
            "somewhat_values.1.encoder.key",
            "it has no input \"past_key_values.1.encoder.key\"",
        ),
        (
            "past_sequence_lengths",
            "next_sequence_lengths",
            "it has no input \"past_sequence_lengths\"",
        ),
        ("logits", "digits", "it has no output \"logits\""),
    ] {
        rename(&decoder_step, name, other);
        let message = message(folder.path());
        assert!(
            message.contains("graph decoder_step is invalid") && message.contains(reason),
            "{message}"
        );
        fs::write(&decoder_step, &whole).unwrap();
    }
    load(folder.path()).unwrap();
}

#[test]
fn fused_graphs_of_two_models() {
    let folder = exported("base-like", &GraphFile::FUSED);
    let other = exported("large-like", &GraphFile::FUSED);
    let name = "onnx/text_encoder.onnx";
    fs::copy(other.path().join(name), folder.path().join(name)).unwrap();
    let message = message(folder.path());
    assert!(
        message.contains("graph text_encoder is invalid") && message.contains("is not f32 [rows, "),
        "{message}"
    );
}
