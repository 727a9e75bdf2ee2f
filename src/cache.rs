//! The cache folder of this crate, and the entries of this and of a hub's cache.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use florence2_layout::dtypes::Dtype;
use serde::Serialize;
use serde_json::Value;

use crate::error::Result;
use crate::fs::{folders_in, remove, size_of_folder};

/// The folder of exports: `<organisation>--<name>/<checksum>`.
pub(crate) const EXPORTS: &str = "exports";
/// The file that names the source of an export; its presence marks a complete export.
pub(crate) const EXPORT_RECORD: &str = "export.json";
/// The folder of files that execution providers compile from graphs: `<device>/<key of the graph>`.
pub(crate) const PROVIDERS: &str = "providers";
/// The file that names the graph of a provider's folder.
pub(crate) const GRAPH_RECORD: &str = "graph.json";
/// The folder of fetched ONNX Runtime libraries: `<version>-<os>-<arch>`.
pub(crate) const RUNTIMES: &str = "onnxruntime";
/// The file with size and checksum of a library; its presence marks a complete download.
pub(crate) const RUNTIME_RECORD: &str = "verified.json";
/// The folder of lock files in a hub's cache: `<folder of the model>`.
pub(crate) const LOCKS: &str = ".locks";

/// A folder in a cache that can be removed on its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CacheEntry {
    /// The kind of content, with its details.
    #[serde(flatten)]
    pub content: CacheContent,
    /// The size on disk in bytes.
    pub bytes: u64,
    /// The folder that holds the entry's files.
    pub folder: PathBuf,
}

/// The content of a [`CacheEntry`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
#[non_exhaustive]
pub enum CacheContent {
    /// A model in a hub's cache, all commits.
    Model {
        /// `organisation/name`.
        model: String,
        /// The dtypes of its graphs.
        #[serde(skip)]
        dtypes: Vec<Dtype>,
        /// Whether it has weights in safetensors.
        #[serde(skip)]
        has_checkpoint: bool,
    },
    /// Graphs exported from a checkpoint.
    Export {
        /// The repository and revision: `organisation/name` or `organisation/name@revision`.
        model: String,
        /// The target's name: `cpu`, `plain`, `cuda`.
        target: String,
        /// The precision's name: `fp32`, `fp16`, `int8`, `q4`, ...
        precision: String,
    },
    /// Files that an execution provider compiled from a graph: TensorRT's engines and timings, CoreML's models.
    Provider {
        /// The device's name.
        device: String,
        /// The graph's file, or its name if it came from memory; `None` if unknown.
        #[serde(skip_serializing_if = "Option::is_none")]
        graph: Option<String>,
    },
    /// A fetched ONNX Runtime library.
    Runtime {
        /// Its version and platform: `1.32.0-linux-x86_64`.
        version: String,
    },
}

impl CacheEntry {
    pub(crate) fn new(content: CacheContent, folder: PathBuf) -> Self {
        Self {
            content,
            bytes: size_of_folder(&folder),
            folder,
        }
    }

    /// Returns the repository of a model or an export: `organisation/name`.
    pub fn repository(&self) -> Option<&str> {
        match &self.content {
            CacheContent::Model { model, .. } | CacheContent::Export { model, .. } => model.split('@').next(),
            _ => None,
        }
    }

    /// Removes the folder, and a model's lock files. Returns `false` if it does not exist. Programs that are using it
    /// may fail.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) if the folder cannot be removed.
    pub fn remove(&self) -> Result<bool> {
        let removed = remove(&self.folder)?;
        if let CacheContent::Model { .. } = self.content
            && let (Some(cache), Some(name)) = (self.folder.parent(), self.folder.file_name())
        {
            remove(&cache.join(LOCKS).join(name))?;
        }
        Ok(removed)
    }
}

/// Returns the default cache folder: `FLORENCE2_CACHE` if set, else `florence2` in the platform's cache folder
/// (`$XDG_CACHE_HOME` or `~/.cache`; `~/Library/Caches`; `%LOCALAPPDATA%`). `None` if there is no home folder.
///
/// The folder need not exist.
pub fn cache_dir() -> Option<PathBuf> {
    cache_dir_from(|name| std::env::var_os(name), std::env::home_dir())
}

fn cache_dir_from(var: impl Fn(&str) -> Option<OsString>, home: Option<PathBuf>) -> Option<PathBuf> {
    let path = |name| var(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(cache) = path("FLORENCE2_CACHE") {
        return Some(cache);
    }
    let platform = if cfg!(windows) {
        path("LOCALAPPDATA").or_else(|| Some(home?.join("AppData").join("Local")))
    } else if cfg!(target_os = "macos") {
        home.map(|home| home.join("Library").join("Caches"))
    } else {
        // The XDG specification: a relative path is invalid and to be ignored.
        path("XDG_CACHE_HOME")
            .filter(|path| path.is_absolute())
            .or_else(|| Some(home?.join(".cache")))
    };
    platform.map(|dir| dir.join("florence2"))
}

/// Returns the entries of a cache folder such as [`cache_dir`]: exports, ONNX Runtime libraries, then providers' files,
/// each sorted by folder. Incomplete exports and downloads are left out. ONNX Runtime is not loaded.
pub fn cache_entries(root: &Path) -> Vec<CacheEntry> {
    let nested = |name| {
        folders_in(&root.join(name))
            .into_iter()
            .flat_map(|folder| folders_in(&folder))
    };
    let libraries = folders_in(&root.join(RUNTIMES));
    let found = nested(EXPORTS).filter_map(|folder| Some((export(&folder)?, folder)));
    let found = found.chain(
        libraries
            .into_iter()
            .filter_map(|folder| Some((runtime(&folder)?, folder))),
    );
    let found = found.chain(nested(PROVIDERS).filter_map(|folder| Some((provider(&folder)?, folder))));
    found
        .map(|(content, folder)| CacheEntry::new(content, folder))
        .collect()
}

fn export(folder: &Path) -> Option<CacheContent> {
    let record = record(&folder.join(EXPORT_RECORD));
    let text = |name: &str| record[name].as_str().map(str::to_owned);
    Some(CacheContent::Export {
        model: text("model")?,
        target: text("target")?,
        precision: text("precision")?,
    })
}

fn runtime(folder: &Path) -> Option<CacheContent> {
    let version = folder.file_name()?.to_str()?.to_owned();
    record(&folder.join(RUNTIME_RECORD))
        .is_object()
        .then_some(CacheContent::Runtime { version })
}

fn provider(folder: &Path) -> Option<CacheContent> {
    Some(CacheContent::Provider {
        device: folder.parent()?.file_name()?.to_str()?.to_owned(),
        graph: record(&folder.join(GRAPH_RECORD))["graph"]
            .as_str()
            .map(str::to_owned),
    })
}

/// Returns the JSON in a file, `null` if the file cannot be read.
fn record(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap_or_default()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(vars: &[(&str, &str)], home: Option<&str>) -> Option<PathBuf> {
        let var = |name: &str| {
            vars.iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| OsString::from(value))
        };
        cache_dir_from(var, home.map(PathBuf::from))
    }

    #[test]
    fn own_variable_comes_first() {
        let vars = [
            ("FLORENCE2_CACHE", "/here"),
            ("XDG_CACHE_HOME", "/xdg"),
            ("LOCALAPPDATA", "/local"),
        ];
        assert_eq!(with(&vars, Some("/home/me")), Some("/here".into()));
        assert_eq!(with(&[("FLORENCE2_CACHE", "")], None), None);
    }

    #[cfg(all(unix, not(target_os = "macos")))]
    #[test]
    fn xdg_then_home() {
        let vars = [("XDG_CACHE_HOME", "/xdg")];
        assert_eq!(with(&vars, Some("/home/me")), Some("/xdg/florence2".into()));
        let relative = [("XDG_CACHE_HOME", "xdg")];
        assert_eq!(
            with(&relative, Some("/home/me")),
            Some("/home/me/.cache/florence2".into())
        );
    }

    fn contents(root: &Path) -> Vec<CacheContent> {
        cache_entries(root)
            .into_iter()
            .map(|entry| entry.content)
            .collect()
    }

    fn provider_content(graph: Option<&str>) -> CacheContent {
        CacheContent::Provider {
            device: "tensorrt".into(),
            graph: graph.map(str::to_owned),
        }
    }

    #[test]
    fn provider_files_are_listed_by_graph_and_removed_one_by_one() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(cache_entries(root.path()), []);
        let folder = |name: &str| root.path().join(PROVIDERS).join("tensorrt").join(name);
        for (name, bytes) in [("key of step", 1000), ("key of vision", 1000), ("unknown", 70)] {
            fs::create_dir_all(folder(name)).unwrap();
            fs::write(folder(name).join("some.engine"), vec![0; bytes]).unwrap();
        }
        for name in ["step", "vision"] {
            let record = format!(r#"{{"graph":"{name}"}}"#);
            fs::write(folder(&format!("key of {name}")).join(GRAPH_RECORD), record).unwrap();
        }
        let entries = cache_entries(root.path());
        assert_eq!(
            contents(root.path()),
            [
                provider_content(Some("step")),
                provider_content(Some("vision")),
                provider_content(None)
            ]
        );
        assert!(entries[0].bytes > 1000 && entries[2].bytes == 70);

        assert!(entries[2].remove().unwrap());
        assert!(entries[0].remove().unwrap() && !entries[0].remove().unwrap());
        assert_eq!(cache_entries(root.path()), entries[1..2]);
        // Files of an older version or a killed process can be removed too.
        fs::remove_file(entries[1].folder.join(GRAPH_RECORD)).unwrap();
        assert_eq!(contents(root.path()), [provider_content(None)]);
    }

    #[test]
    fn complete_libraries_and_exports_are_listed() {
        let root = tempfile::tempdir().unwrap();
        let library = root.path().join(RUNTIMES).join("1.32.0-linux-x86_64");
        let export = root.path().join(EXPORTS).join("org--name").join("key");
        for folder in [
            &library,
            &export,
            &root.path().join(RUNTIMES).join("unfinished-1"),
        ] {
            fs::create_dir_all(folder).unwrap();
        }
        fs::write(library.join("library"), [0; 10]).unwrap();
        assert_eq!(contents(root.path()), []);
        fs::write(library.join(RUNTIME_RECORD), r#"{"size":10,"sha256":"0"}"#).unwrap();
        let record = r#"{"model":"org/name","commit":"0","target":"cpu","precision":"int8"}"#;
        fs::write(export.join(EXPORT_RECORD), record).unwrap();
        let entries = cache_entries(root.path());
        let version = "1.32.0-linux-x86_64".to_owned();
        assert_eq!(entries[1].content, CacheContent::Runtime { version });
        let json = serde_json::to_value(&entries[0]).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "kind": "export", "model": "org/name", "target": "cpu", "precision": "int8",
                "bytes": record.len(), "folder": export,
            })
        );
        assert!(entries.iter().all(|entry| entry.remove().unwrap()));
        assert_eq!(contents(root.path()), []);
    }
}
