//! Weights outside their graphs' files: under any name, and where a graph may not reach them.

use std::fs;
use std::path::Path;

use florence2::runtime::{GraphSource, build_session};
use florence2::{BundleSource, Error, Florence2};
use florence2_export::GraphFile;
use florence2_layout::onnx::{AttributeProto, EXTERNAL, FunctionProto, ModelProto, TensorProto, entry};
use prost::Message;
use tempfile::TempDir;

use super::{Deployment, FP32, MERGED, answers, exported, options, path};

/// Moves the large weights of a graph into files; `location` names the file of weight `n`, by its path from the graph's
/// folder. Returns the graph and the files.
fn externalized(model: &[u8], location: impl Fn(usize) -> String) -> (Vec<u8>, Vec<(String, Vec<u8>)>) {
    let mut model = ModelProto::decode(model).unwrap();
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    let tensors = model.graph.iter_mut().flat_map(|graph| &mut graph.initializer);
    for (index, tensor) in tensors.enumerate() {
        let Some(raw) = tensor.raw_data.take_if(|raw| raw.len() >= 1024) else {
            continue;
        };
        let location = location(index);
        let at = files.iter().position(|(file, _)| *file == location);
        let at = at.unwrap_or_else(|| {
            files.push((location.clone(), Vec::new()));
            files.len() - 1
        });
        let offset = files[at].1.len();
        tensor.external_data = vec![
            entry("location", location),
            entry("offset", offset.to_string()),
            entry("length", raw.len().to_string()),
        ];
        tensor.data_location = Some(EXTERNAL);
        files[at].1.extend_from_slice(&raw);
    }
    (model.encode_to_vec(), files)
}

/// Returns a deployment whose graphs have their weights in files; `location` as in [`externalized`], by the graph's name.
fn deployment(location: impl Fn(&str, usize) -> String) -> Deployment {
    let mut deployment = Deployment::new(&[], FP32);
    for graph in MERGED {
        let (model, files) = externalized(&exported(graph, FP32), |index| location(graph.name(), index));
        deployment.files.insert(path(graph, FP32), model.into());
        for (file, bytes) in files {
            deployment.files.insert(format!("onnx/{file}"), bytes.into());
        }
    }
    deployment
}

fn written(deployment: &Deployment) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (file, bytes) in &deployment.files {
        let path = folder.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    folder
}

#[test]
fn weights_have_any_name_in_memory_and_in_folders() {
    let reference = answers(&Deployment::new(&MERGED, FP32).load());
    let one_file = deployment(|graph, _| format!("{graph}_weights.bin"));
    let many_files = deployment(|graph, index| format!("{graph}.weight.{index}"));
    let folders = deployment(|graph, index| format!("data/{graph}/{}", index % 3));
    for (deployment, what) in [(one_file, "bin"), (many_files, "many"), (folders, "folders")] {
        assert_eq!(answers(&deployment.load()), reference, "{what} in memory");
        let folder = written(&deployment);
        let source = BundleSource::Folder(folder.path().into());
        let model = Florence2::load(source, options()).unwrap();
        assert_eq!(answers(&model), reference, "{what} in a folder");
    }
}

/// ONNX Runtime would look for the file on the disk, from the process's folder.
#[test]
fn weights_that_are_missing_in_memory_are_named() {
    let whole = deployment(|graph, _| format!("{graph}.bin"));
    let error = whole.without("onnx/encoder_model.bin").error();
    assert!(
        matches!(&error, Error::InvalidGraph { graph, .. } if graph.ends_with("encoder_model.onnx")),
        "{error}"
    );
    assert!(error.to_string().contains("\"encoder_model.bin\""), "{error}");
}

/// Returns the error of loading a graph whose weights are at `location`, in a folder with a file `weights.bin` inside and one
/// outside it.
fn error_of(location: &str, prepare: impl Fn(&Path)) -> Error {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("onnx");
    fs::create_dir(&inner).unwrap();
    let (model, files) = externalized(&exported(GraphFile::EmbedTokens, FP32), |_| location.to_owned());
    for file in [folder.path().join("outside.bin"), inner.join("weights.bin")] {
        fs::write(file, &files[0].1).unwrap();
    }
    prepare(&inner);
    let file = inner.join("embed_tokens.onnx");
    fs::write(&file, model).unwrap();
    super::common::runtime();
    let session = build_session(&GraphSource::File(file), &options().session);
    session.map(drop).unwrap_err()
}

fn assert_outside(error: &Error, location: &str) {
    assert!(
        matches!(error, Error::InvalidGraph { reason, .. } if reason.contains("not inside its folder")),
        "{location}: {error:?}"
    );
}

#[test]
fn locations_outside_the_folder_are_rejected() {
    let absolute = std::env::temp_dir().join("weights.bin");
    for location in [
        "../outside.bin",
        "data/../../outside.bin",
        "./../outside.bin",
        "weights.bin/../../outside.bin",
        absolute.to_str().unwrap(),
        "/dev/zero",
        "*/_ORT_MEM_ADDR_/*",
        ".",
    ] {
        assert_outside(&error_of(location, |_| ()), location);
    }
    let missing = error_of("absent.bin", |_| ());
    assert!(
        matches!(&missing, Error::Io { path, .. } if path.ends_with("absent.bin")),
        "{missing:?}"
    );
}

/// Locations in a branch, in a function's nodes and in a function's default attributes.
#[test]
fn locations_are_checked_wherever_a_graph_has_tensors() {
    let tensor = || TensorProto {
        external_data: vec![entry("location", "../outside.bin")],
        data_location: Some(EXTERNAL),
        ..TensorProto::default()
    };
    let attribute = AttributeProto {
        t: Some(tensor()),
        ..AttributeProto::default()
    };
    let function = FunctionProto {
        attribute_proto: vec![attribute],
        ..FunctionProto::default()
    };
    let model = ModelProto {
        functions: vec![function],
        ..ModelProto::default()
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("function.onnx");
    fs::write(&file, model.encode_to_vec()).unwrap();
    super::common::runtime();
    let error = build_session(&GraphSource::File(file), &options().session).unwrap_err();
    assert_outside(&error, "function");
}

#[cfg(unix)]
#[test]
fn links_are_followed_within_the_folder_only() {
    use std::os::unix::fs::symlink;
    let outside = |inner: &Path| symlink("../outside.bin", inner.join("link.bin")).unwrap();
    assert_outside(&error_of("link.bin", outside), "link.bin");
    let folder = |inner: &Path| symlink("..", inner.join("up")).unwrap();
    assert_outside(&error_of("up/outside.bin", folder), "up/outside.bin");
    // A repository's blobs are those beside its own snapshots.
    let other = |inner: &Path| {
        let blobs = inner.parent().unwrap().join("blobs");
        fs::create_dir(&blobs).unwrap();
        fs::write(blobs.join("1"), "weights").unwrap();
        symlink("../blobs/1", inner.join("link.bin")).unwrap();
    };
    assert_outside(&error_of("link.bin", other), "blobs without snapshots");

    let weights = deployment(|graph, _| format!("{graph}.bin"));
    let reference = answers(&weights.load());
    let written = written(&weights);
    let graphs = written.path().join("onnx");
    fs::create_dir(graphs.join("store")).unwrap();
    for graph in MERGED {
        let name = format!("{}.bin", graph.name());
        fs::rename(graphs.join(&name), graphs.join("store").join(&name)).unwrap();
        symlink(Path::new("store").join(&name), graphs.join(&name)).unwrap();
    }
    let model = Florence2::load(BundleSource::Folder(written.path().into()), options()).unwrap();
    assert_eq!(answers(&model), reference);
}
