//! The folders in which execution providers cache what they compile: `providers/<device>/<key>` in the cache folder.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use super::device::{Device, ProviderOption};
use super::graph_source::{CheckedGraph, GraphSource};
use crate::cache::{GRAPH_RECORD, PROVIDERS};
use crate::error::{Error, Result};

/// Returns the folder for what `device`'s provider compiles from `graph`; `None` without a cache folder, or if the graph's
/// files cannot be read.
pub(super) fn folder(
    graph: &CheckedGraph,
    device: Device,
    options: &[ProviderOption],
    build: &str,
) -> Option<PathBuf> {
    let key = key(graph, device, options, build)?;
    let root = crate::cache_dir()?;
    Some(root.join(PROVIDERS).join(device.kind().name()).join(key))
}

/// A hash of the graph, its weights, the device, its options and the build of ONNX Runtime. Providers themselves tell graphs
/// apart by their nodes' names, which are the same in every fine-tune.
fn key(graph: &CheckedGraph, device: Device, options: &[ProviderOption], build: &str) -> Option<String> {
    let mut hasher = DefaultHasher::new();
    (build, device).hash(&mut hasher);
    for option in options.iter().filter(|option| option.kind() == device.kind()) {
        (option.name(), option.value()).hash(&mut hasher);
    }
    for file in graph.data_files() {
        hash_file(file, &mut hasher)?;
    }
    match graph.source() {
        GraphSource::File(path) => hash_file(path, &mut hasher)?,
        GraphSource::Memory {
            model, external_data, ..
        } => {
            model.as_ref().hash(&mut hasher);
            for (name, data) in external_data {
                (name, data.as_ref()).hash(&mut hasher);
            }
        }
        GraphSource::Repaired { file, model, .. } => {
            hash_file(file, &mut hasher)?;
            model.as_ref().hash(&mut hasher);
        }
        GraphSource::Session(_) => return None,
    }
    Some(format!("{:016x}", hasher.finish()))
}

/// Hashes path, size and time of a file; its contents may be gigabytes. Links, as in a hub's cache, are followed.
fn hash_file(path: &Path, hasher: &mut DefaultHasher) -> Option<()> {
    let file = fs::metadata(path).ok()?;
    (std::path::absolute(path).ok()?, file.len(), file.modified().ok()?).hash(hasher);
    Some(())
}

/// Writes the graph's name into its provider's folder, if the folder is there and has no name yet.
pub(super) fn describe(folder: &Path, graph: &GraphSource) -> Result<()> {
    let record = folder.join(GRAPH_RECORD);
    if !folder.is_dir() || record.is_file() {
        return Ok(());
    }
    let graph = match graph {
        GraphSource::File(path) => std::path::absolute(path).unwrap_or_else(|_| path.clone()),
        graph => graph.name().into(),
    };
    let json = serde_json::json!({ "graph": graph.display().to_string() });
    fs::write(&record, json.to_string()).map_err(Error::io(&record))
}

#[cfg(test)]
mod tests {
    use florence2_layout::onnx::{EXTERNAL, GraphProto, ModelProto, TensorProto, entry};
    use prost::Message;

    use super::*;

    /// Returns a graph whose weights are in `weights.bin`.
    fn graph(producer_name: &str) -> Vec<u8> {
        let tensor = TensorProto {
            external_data: vec![entry("location", "weights.bin")],
            data_location: Some(EXTERNAL),
            ..TensorProto::default()
        };
        let graph = GraphProto {
            initializer: vec![tensor],
            ..GraphProto::default()
        };
        let model = ModelProto {
            producer_name: producer_name.into(),
            graph: Some(graph),
            ..ModelProto::default()
        };
        model.encode_to_vec()
    }

    #[test]
    fn keys_differ_by_graph_weights_device_options_and_build() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("graph.onnx");
        let weights = folder.path().join("weights.bin");
        fs::write(&file, graph("a")).unwrap();
        fs::write(&weights, "weights").unwrap();
        let options = ["tensorrt.trt_fp16_enable=1".parse::<ProviderOption>().unwrap()];
        let of = |device: &str, options: &[ProviderOption], build: &str| {
            let graph = CheckedGraph::new(GraphSource::File(file.clone())).unwrap();
            key(&graph, device.parse().unwrap(), options, build).unwrap()
        };
        let first = of("tensorrt", &[], "1.32");
        assert_eq!(of("tensorrt", &[], "1.32"), first);
        let mut keys = vec![
            first,
            of("tensorrt:1", &[], "1.32"),
            of("tensorrt", &options, "1.32"),
            of("tensorrt", &[], "1.31"),
        ];
        // Options of other devices do not change the key.
        assert_eq!(of("coreml", &options, "1.32"), of("coreml", &[], "1.32"));
        fs::write(&weights, "other weights").unwrap();
        keys.push(of("tensorrt", &[], "1.32"));
        fs::write(&file, graph("another")).unwrap();
        keys.push(of("tensorrt", &[], "1.32"));
        let memory = CheckedGraph::new(GraphSource::memory("graph", Vec::new())).unwrap();
        keys.extend(key(&memory, Device::CPU, &[], "1.32"));
        let unique: std::collections::BTreeSet<&String> = keys.iter().collect();
        assert_eq!((unique.len(), keys.len()), (7, 7), "{keys:?}");
        let removed = CheckedGraph::new(GraphSource::File(file.clone())).unwrap();
        fs::remove_file(&file).unwrap();
        assert_eq!(key(&removed, Device::CPU, &[], "1.32"), None);
    }

    #[test]
    fn folders_name_their_graph_once() {
        let folder = tempfile::tempdir().unwrap();
        let record = folder.path().join("graph.json");
        describe(
            &folder.path().join("absent"),
            &GraphSource::memory("a", Vec::new()),
        )
        .unwrap();
        for name in ["a", "b"] {
            describe(folder.path(), &GraphSource::memory(name, Vec::new())).unwrap();
            assert_eq!(fs::read_to_string(&record).unwrap(), r#"{"graph":"a"}"#);
        }
    }
}
