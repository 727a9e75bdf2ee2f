//! The embedded demo model.

use std::collections::BTreeMap;

use florence2_demo::{CONFIG, OTHER_FILES, WEIGHTS};
use florence2_export::{Checkpoint, ExportOptions, GraphFile, export_config_files, export_graph_bytes};
use florence2_layout::graphs::{EXTENSION, FOLDER};

use crate::bundle::{BundleSource, Bytes};
use crate::error::Result;

/// The demo model's name on the command line and in messages.
pub const NAME: &str = "demo";

/// The graphs of the demo model: the plain layout with the merged decoder.
const GRAPHS: [GraphFile; 4] = [
    GraphFile::VisionEncoder,
    GraphFile::EmbedTokens,
    GraphFile::EncoderModel,
    GraphFile::DecoderModelMerged,
];

/// Returns the demo model's files, with graphs exported in memory from the embedded checkpoint.
///
/// # Errors
/// None in practice: the checkpoint is constant.
pub fn bundle() -> Result<BundleSource> {
    let checkpoint = OTHER_FILES
        .into_iter()
        .fold(Checkpoint::from_bytes(CONFIG, WEIGHTS)?, |checkpoint, file| {
            checkpoint.with_file(file.name, file.bytes)
        });
    let options = ExportOptions::default().with_model_name(NAME);
    let config_files = export_config_files(&checkpoint, &options)?;
    let mut files: BTreeMap<String, Bytes> = config_files
        .into_iter()
        .map(|(name, bytes)| (name, bytes.into()))
        .collect();
    for graph in GRAPHS {
        let bytes = export_graph_bytes(&checkpoint, graph, &options)?;
        files.insert(format!("{FOLDER}/{}{EXTENSION}", graph.name()), bytes.into());
    }
    Ok(BundleSource::Memory {
        name: NAME.into(),
        files,
    })
}
