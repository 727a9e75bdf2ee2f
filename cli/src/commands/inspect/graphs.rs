//! One graph, as its file describes it.

use std::collections::BTreeMap;
use std::fs;

use florence2::BundleSource;
use florence2::runtime::{
    Dimension, GraphSignature, GraphSource, OptimizationLevel, Placement, TensorSpec, build_session,
};
use florence2_export::GraphFile;
use prost::bytes::Bytes;
use serde::Serialize;

use super::onnx::Contents;
use crate::args::GlobalArgs;
use crate::engine;
use crate::error::describe;
use crate::placement::PlacementRecord;

/// A graph.
#[derive(Debug, Serialize)]
pub struct GraphRecord {
    pub graph: &'static str,
    /// Inside the bundle.
    pub file: String,
    /// With the weights in files beside it.
    pub bytes: u64,
    /// The type of most weights.
    pub precision: Option<&'static str>,
    /// Numbers of each type.
    pub weights: BTreeMap<&'static str, u64>,
    /// The version of each set of operators.
    pub opsets: BTreeMap<String, i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub producer: Option<String>,
    pub inputs: Vec<TensorRecord>,
    pub outputs: Vec<TensorRecord>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// Where its nodes run; known of the graphs that are loaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub placement: Option<PlacementRecord>,
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
    /// Reads a graph.
    pub fn read(graph: GraphFile, file: &str, source: &BundleSource, globals: &GlobalArgs) -> Self {
        let source = source.graph(file).unwrap_or(GraphSource::File(file.into()));
        let contents = contents(&source);
        let mut record = Self {
            graph: graph.name(),
            file: file.to_owned(),
            bytes: size(&source),
            precision: contents.precision(),
            weights: contents.weights,
            opsets: contents.opsets,
            producer: None,
            inputs: Vec::new(),
            outputs: Vec::new(),
            metadata: BTreeMap::new(),
            placement: None,
            error: None,
        };
        match signature(&source, file, globals) {
            Ok(signature) => {
                record.inputs = signature.inputs.iter().map(TensorRecord::from).collect();
                record.outputs = signature.outputs.iter().map(TensorRecord::from).collect();
                record.producer = signature.producer;
                record.metadata = signature.metadata;
            }
            Err(error) => record.error = Some(describe(&error)),
        }
        record
    }

    /// Takes over where the nodes run, if it is said among these.
    pub fn place(&mut self, placements: &[&Placement]) {
        let own = placements.iter().find(|placement| placement.graph == self.graph);
        self.placement = own.map(|&placement| placement.into());
    }
}

fn signature(source: &GraphSource, file: &str, globals: &GlobalArgs) -> florence2::Result<GraphSignature> {
    let mut options = engine::session_options(globals);
    // The graph is only looked at; some devices compile for minutes.
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

/// The size of the file and of the weights beside it: `x.onnx`, `x.onnx_data`, `x.onnx.data`, `x.onnx_data_1`.
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
    let own = siblings.filter(|entry| entry.file_name().to_string_lossy().starts_with(&*name));
    own.filter_map(|entry| Some(fs::metadata(entry.path()).ok()?.len()))
        .sum()
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
