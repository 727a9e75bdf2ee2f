//! The folders in which execution providers cache what they compile: `providers/<device>/<key>` in the cache folder.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use florence2_layout::graphs::is_external_data;

use super::device::{Device, ProviderOption};
use super::graph_source::GraphSource;
use crate::cache::{GRAPH_RECORD, PROVIDERS};
use crate::error::{Error, Result};

/// Returns the folder for what `device`'s provider compiles from `graph`; `None` without a cache folder, or if the graph's
/// files cannot be read.
pub(super) fn folder(
    graph: &GraphSource,
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
fn key(graph: &GraphSource, device: Device, options: &[ProviderOption], build: &str) -> Option<String> {
    let mut hasher = DefaultHasher::new();
    (build, device).hash(&mut hasher);
    for option in options.iter().filter(|option| option.kind() == device.kind()) {
        (option.name(), option.value()).hash(&mut hasher);
    }
    match graph {
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

/// Hashes path, size and time of a graph's file and of the files of its weights, which may have gigabytes.
fn hash_file(path: &Path, hasher: &mut DefaultHasher) -> Option<()> {
    let path = std::path::absolute(path).ok()?;
    let name = path.file_name()?.to_str()?;
    let mut files: Vec<_> = fs::read_dir(path.parent()?)
        .ok()?
        .flatten()
        .filter(|entry| {
            let file = entry.file_name();
            file == name || is_external_data(&file.to_string_lossy(), name)
        })
        .filter_map(|entry| {
            // Links, as in a hub's cache, are followed.
            let file = fs::metadata(entry.path()).ok()?;
            Some((entry.file_name(), file.len(), file.modified().ok()?))
        })
        .collect();
    files.sort();
    (&path, files).hash(hasher);
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
    use super::*;

    #[test]
    fn keys_differ_by_graph_weights_device_options_and_build() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("graph.onnx");
        fs::write(&file, "graph").unwrap();
        let options = ["tensorrt.trt_fp16_enable=1".parse::<ProviderOption>().unwrap()];
        let of = |device: &str, options: &[ProviderOption], build: &str| {
            let file = GraphSource::File(file.clone());
            key(&file, device.parse().unwrap(), options, build).unwrap()
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
        fs::write(folder.path().join("graph.onnx_data"), "weights").unwrap();
        keys.push(of("tensorrt", &[], "1.32"));
        fs::write(&file, "another graph").unwrap();
        keys.push(of("tensorrt", &[], "1.32"));
        let memory = GraphSource::memory("graph", b"graph".to_vec());
        keys.extend(key(&memory, Device::CPU, &[], "1.32"));
        let unique: std::collections::BTreeSet<&String> = keys.iter().collect();
        assert_eq!((unique.len(), keys.len()), (7, 7), "{keys:?}");
        fs::remove_file(&file).unwrap();
        let absent = GraphSource::File(folder.path().join("absent/graph.onnx"));
        assert_eq!(key(&absent, Device::CPU, &[], "1.32"), None);
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
