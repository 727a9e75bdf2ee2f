//! One graph, as its file describes it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use florence2::BundleSource;
use florence2::runtime::{
    Dimension, GraphSignature, GraphSource, OptimizationLevel, TensorSpec, build_session,
};
use florence2_export::GraphFile;
use serde::Serialize;

use crate::args::GlobalArgs;
use crate::engine;
use crate::error::describe;

/// A graph.
#[derive(Debug, Serialize)]
pub struct GraphRecord {
    pub graph: &'static str,
    /// Inside the bundle.
    pub file: String,
    /// With the weights in files beside it.
    pub bytes: u64,
    /// By the graph's own metadata.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub precision: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub producer: Option<String>,
    pub inputs: Vec<TensorRecord>,
    pub outputs: Vec<TensorRecord>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// Why it cannot be loaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// An input or output.
#[derive(Debug, Serialize)]
pub struct TensorRecord {
    pub name: String,
    pub dtype: String,
    pub shape: Vec<Size>,
}

/// A number where the graph fixes the dimension, else its name (`?` if it has none).
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Size {
    Fixed(usize),
    Any(String),
}

impl GraphRecord {
    /// Reads a graph's signature.
    pub fn read(graph: GraphFile, file: &str, source: &BundleSource, globals: &GlobalArgs) -> Self {
        let mut record = Self {
            graph: graph.name(),
            file: file.to_owned(),
            bytes: bytes(file, source),
            precision: None,
            producer: None,
            inputs: Vec::new(),
            outputs: Vec::new(),
            metadata: BTreeMap::new(),
            error: None,
        };
        match signature(file, source, globals) {
            Ok(signature) => {
                record.precision = signature.metadata.get("florence2.precision").cloned();
                record.inputs = signature.inputs.iter().map(TensorRecord::from).collect();
                record.outputs = signature.outputs.iter().map(TensorRecord::from).collect();
                record.producer = signature.producer;
                record.metadata = signature.metadata;
            }
            Err(error) => record.error = Some(describe(&error)),
        }
        record
    }
}

fn signature(file: &str, source: &BundleSource, globals: &GlobalArgs) -> florence2::Result<GraphSignature> {
    let mut options = engine::session_options(globals);
    // The graph is only looked at.
    options.optimization_level = OptimizationLevel::Disabled;
    let path: PathBuf;
    let graph = match source {
        BundleSource::Folder(folder) => {
            path = folder.join(file);
            GraphSource::File(&path)
        }
        BundleSource::Memory { files, .. } => GraphSource::Bytes {
            name: file,
            bytes: files.get(file).map_or(&[], |bytes| bytes),
        },
        _ => GraphSource::File(Path::new(file)),
    };
    GraphSignature::of(&build_session(graph, &options)?, file)
}

fn bytes(file: &str, source: &BundleSource) -> u64 {
    match source {
        BundleSource::Folder(folder) => {
            let path = folder.join(file);
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let siblings = path
                .parent()
                .and_then(|folder| fs::read_dir(folder).ok())
                .into_iter()
                .flatten()
                .flatten();
            // `x.onnx` and its weights: `x.onnx_data`, `x.onnx.data`, `x.onnx_data_1`.
            let own = siblings.filter(|entry| entry.file_name().to_string_lossy().starts_with(&*name));
            own.filter_map(|entry| Some(entry.metadata().ok()?.len())).sum()
        }
        BundleSource::Memory { files, .. } => files.get(file).map_or(0, |bytes| bytes.len() as u64),
        _ => 0,
    }
}

impl From<&TensorSpec> for TensorRecord {
    fn from(spec: &TensorSpec) -> Self {
        let size = |dimension: &Dimension| match dimension {
            Dimension::Fixed(size) => Size::Fixed(*size),
            any => Size::Any(any.to_string()),
        };
        Self {
            name: spec.name.clone(),
            dtype: spec.dtype.to_string(),
            shape: spec.dims.iter().map(size).collect(),
        }
    }
}
