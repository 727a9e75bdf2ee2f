//! One graph: what its file contains, and what ONNX Runtime reads from it.

use std::collections::BTreeMap;
use std::fs;

use florence2::BundleSource;
use florence2::runtime::{
    Dimension, GraphSignature, GraphSource, OptimizationLevel, Placement, TensorSpec, build_session,
};
use florence2_export::GraphFile;
use prost::bytes::Bytes;
use serde::Serialize;
use serde_json::Value;

use super::onnx::Contents;
use crate::args::GlobalArgs;
use crate::engine;
use crate::error::describe;
use crate::placement::PlacementRecord;

/// A graph.
#[derive(Debug, Serialize)]
pub struct GraphRecord {
    pub graph: &'static str,
    /// The file's path inside the bundle.
    pub file: String,
    /// The size of the file and of the external data beside it.
    pub bytes: u64,
    #[serde(flatten)]
    pub contents: Contents,
    #[serde(flatten)]
    pub signature: Signature,
    /// The devices of the nodes, if the model could be loaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub placement: Option<PlacementRecord>,
    /// The reason why the graph cannot be loaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What ONNX Runtime reads from a graph; empty if the graph cannot be loaded.
#[derive(Debug, Default, Serialize)]
pub struct Signature {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub producer: Option<String>,
    pub inputs: Vec<TensorRecord>,
    pub outputs: Vec<TensorRecord>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

/// An input or output.
#[derive(Debug, Serialize)]
pub struct TensorRecord {
    pub name: String,
    pub dtype: String,
    /// The sizes of the dimensions: a number if the graph fixes it, else its name (`?` if it has none).
    pub shape: Vec<Value>,
}

impl GraphRecord {
    /// Reads a graph.
    pub fn read(graph: GraphFile, file: &str, source: &BundleSource, globals: &GlobalArgs) -> Self {
        let source = source.graph(file).unwrap_or(GraphSource::File(file.into()));
        let (signature, error) = match signature(&source, file, globals) {
            Ok(signature) => (signature.into(), None),
            Err(error) => (Signature::default(), Some(describe(&error))),
        };
        Self {
            graph: graph.name(),
            file: file.to_owned(),
            bytes: size(&source),
            contents: contents(&source),
            signature,
            placement: None,
            error,
        }
    }

    /// Sets the placement to this graph's among `placements`.
    pub fn place(&mut self, placements: &[&Placement]) {
        let placement = placements.iter().find(|placement| placement.graph == self.graph);
        self.placement = placement.map(|&placement| placement.into());
    }
}

fn signature(source: &GraphSource, file: &str, globals: &GlobalArgs) -> florence2::Result<GraphSignature> {
    let mut options = engine::session_options(globals);
    // On the CPU, without optimisation: some devices compile a graph for minutes.
    options.devices = Default::default();
    options.optimization_level = OptimizationLevel::Disabled;
    GraphSignature::of(&build_session(source, &options)?, file)
}

fn contents(source: &GraphSource) -> Contents {
    match source {
        GraphSource::Memory { model, .. } => Contents::of(Bytes::from_owner(model.clone())),
        // A file that cannot be read here cannot be loaded either, which is reported.
        GraphSource::File(path) => fs::read(path)
            .map(|bytes| Contents::of(bytes.into()))
            .unwrap_or_default(),
        _ => Contents::default(),
    }
}

/// Returns the size in bytes of the file and of the external data beside it: `x.onnx`, `x.onnx_data`, `x.onnx.data`, `x.onnx_data_1`.
fn size(source: &GraphSource) -> u64 {
    let path = match source {
        GraphSource::Memory { model, .. } => return model.len() as u64,
        GraphSource::File(path) => path,
        _ => return 0,
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let siblings = path
        .parent()
        .and_then(|folder| fs::read_dir(folder).ok())
        .into_iter()
        .flatten()
        .flatten();
    siblings
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&*name))
        .filter_map(|entry| Some(fs::metadata(entry.path()).ok()?.len()))
        .sum()
}

impl From<GraphSignature> for Signature {
    fn from(signature: GraphSignature) -> Self {
        Self {
            inputs: signature.inputs.iter().map(TensorRecord::from).collect(),
            outputs: signature.outputs.iter().map(TensorRecord::from).collect(),
            producer: signature.producer,
            metadata: signature.metadata,
        }
    }
}

impl From<&TensorSpec> for TensorRecord {
    fn from(spec: &TensorSpec) -> Self {
        let size = |dimension: &Dimension| match dimension {
            Dimension::Fixed(size) => Value::from(*size),
            any => any.to_string().into(),
        };
        Self {
            name: spec.name.clone(),
            dtype: spec.dtype.to_string(),
            shape: spec.dims.iter().map(size).collect(),
        }
    }
}
