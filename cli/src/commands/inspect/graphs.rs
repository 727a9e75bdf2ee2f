//! One graph: its file's contents, and its inputs and outputs according to ONNX Runtime.

use std::fs;

use florence2::BundleSource;
use florence2::runtime::{GraphSignature, GraphSource, OptimizationLevel, Placement, build_session};
use florence2_export::GraphFile;
use prost::bytes::Bytes;
use serde::Serialize;

use super::onnx::Contents;
use crate::args::GlobalArgs;
use crate::error::describe;
use crate::{engine, placement};

/// The description of a graph's file.
#[derive(Debug, Serialize)]
pub struct GraphRecord {
    pub graph: &'static str,
    /// The file's path inside the bundle.
    pub file: String,
    /// The size of the file and of its external data.
    pub bytes: u64,
    #[serde(flatten)]
    pub contents: Contents,
    /// Inputs, outputs and metadata; empty if the graph cannot be loaded.
    #[serde(flatten)]
    pub signature: GraphSignature,
    /// The devices of the nodes, if the model could be loaded.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "placement::serialize"
    )]
    pub placement: Option<Placement>,
    /// The reason why the graph cannot be loaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl GraphRecord {
    /// Describes a graph; errors become part of the description.
    pub fn read(graph: GraphFile, file: &str, source: &BundleSource, globals: &GlobalArgs) -> Self {
        let source = source.graph(file).unwrap_or(GraphSource::File(file.into()));
        let (bytes, contents) = match &source {
            GraphSource::Memory { model, .. } => {
                (model.len() as u64, Contents::of(Bytes::from_owner(model.clone())))
            }
            // A file that cannot be read here cannot be loaded either, which is reported.
            GraphSource::File(path) => {
                let bytes = Bytes::from(fs::read(path).unwrap_or_default());
                let inside = bytes.len() as u64;
                let contents = Contents::of(bytes);
                let files = contents.external_data.iter();
                let files = files.filter_map(|file| fs::metadata(path.with_file_name(file)).ok());
                (inside + files.map(|file| file.len()).sum::<u64>(), contents)
            }
            _ => Default::default(),
        };
        let mut options = engine::session_options(globals);
        // On the CPU, without optimisation: some devices compile a graph for minutes.
        options.devices = Default::default();
        options.optimization_level = OptimizationLevel::Disabled;
        let signature =
            build_session(&source, &options).and_then(|session| GraphSignature::of(&session, file));
        let error = signature.as_ref().err().map(|error| describe(error));
        Self {
            graph: graph.name(),
            file: file.to_owned(),
            bytes,
            contents,
            signature: signature.unwrap_or_default(),
            placement: None,
            error,
        }
    }
}
