//! Checkpoints in files of `torch.save` give the graphs of the same weights in safetensors.

use std::path::{Path, PathBuf};

use florence2_export::{Checkpoint, Error, ExportOptions, Target, export_graph_bytes};

use crate::common::{IMAGE_SIZE, native};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/pytorch")
}

/// Returns the bytes of all graphs of all targets.
fn graphs(checkpoint: &Checkpoint) -> Vec<Vec<u8>> {
    let mut graphs = Vec::new();
    for target in [Target::Plain, Target::Cpu, Target::Cuda] {
        for &dtype in target.dtypes() {
            let options = ExportOptions::default()
                .with_target(target)
                .with_dtype(dtype)
                .with_image_size(IMAGE_SIZE);
            for &file in target.graphs() {
                graphs.push(export_graph_bytes(checkpoint, file, &options).unwrap());
            }
        }
    }
    graphs
}

#[test]
fn graphs_of_pytorch_files_are_those_of_safetensors() {
    let folder = tempfile::tempdir().unwrap();
    let copy = |from: &str| {
        let to = folder.path().join(from.rsplit('/').next().unwrap());
        std::fs::copy(fixtures().join(from), to).unwrap();
    };
    copy("config.json");
    copy("sharded/pytorch_model-00001-of-00002.bin");
    copy("sharded/pytorch_model-00002-of-00002.bin");
    copy("sharded/pytorch_model.bin.index.json");
    let sharded = graphs(&Checkpoint::open(folder.path()).unwrap());
    copy("pytorch_model.bin");
    let whole = graphs(&Checkpoint::open(folder.path()).unwrap());
    // Safetensors are read where both are there.
    std::fs::write(folder.path().join("pytorch_model.bin"), "").unwrap();
    copy("model.safetensors");
    let safetensors = graphs(&Checkpoint::open(folder.path()).unwrap());
    assert!(whole == safetensors, "pytorch_model.bin");
    assert!(sharded == safetensors, "pytorch_model.bin.index.json");
}

#[test]
fn errors_name_the_file_and_the_problem() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("config.json"), native().config_bytes()).unwrap();
    std::fs::write(folder.path().join("pytorch_model.bin"), "<html>").unwrap();
    match Checkpoint::open(folder.path()).err() {
        Some(Error::Pytorch { file, .. }) => assert_eq!(file, "pytorch_model.bin"),
        other => panic!("{other:?}"),
    }
}
