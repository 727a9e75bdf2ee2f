//! Exporting a checkpoint to a deployment's folder, or to graphs in memory.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use florence2_layout::files::CONFIG;
use florence2_layout::graphs::{EXTERNAL_DATA_SUFFIX, FOLDER, GraphFile};
use florence2_layout::image_size::ImageSize;

use crate::atomic_file::AtomicFile;
use crate::bundle;
use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::graph::{self, Graph, ModelHeader};
use crate::metadata;
use crate::model::{self, Recipe};
use crate::options::ExportOptions;
use crate::smoothing::Smoothing;
use crate::target::Target;
use crate::weight_dtypes::WeightDtypes;

/// The files that an export wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// The path of each written file, relative to the output folder, and its size in bytes.
    pub files: Vec<(PathBuf, u64)>,
    /// Tensors of the checkpoint that no graph uses.
    pub unused_tensors: Vec<String>,
    /// The size of the images that the vision encoder takes.
    pub image_size: ImageSize,
}

/// Writes graphs and configuration files into `folder`, which is created if missing: the graphs into `onnx/`, the others
/// beside it. All weights are checked before anything is written, and each file appears under its name only when it is
/// complete.
///
/// # Errors
/// If a tensor, setting or file is missing or invalid, which the error names.
pub fn export(checkpoint: &Checkpoint, folder: impl AsRef<Path>, options: &ExportOptions) -> Result<Report> {
    let folder = folder.as_ref();
    if checkpoint.is_in(folder) {
        return Err(Error::IntoCheckpoint {
            folder: folder.into(),
        });
    }
    let image_size = image_size(checkpoint, options)?;
    let target = options.target.graphs();
    let chosen = options.graphs.as_deref().unwrap_or(target);
    if let Some(file) = chosen.iter().find(|file| !target.contains(file)) {
        return Err(Error::NotInTarget { graph: file.name() });
    }
    let (graphs, unused_tensors) = build(checkpoint, options, image_size)?;
    for name in &unused_tensors {
        tracing::warn!(tensor = %name, "no graph uses this tensor");
    }
    // Damaged files are reported before the graphs are written, which takes longer.
    let mut side_files = bundle::files(checkpoint, image_size)?;
    let onnx = folder.join(FOLDER);
    std::fs::create_dir_all(&onnx).map_err(Error::write(&onnx))?;

    let mut files = Vec::new();
    for (file, graph) in graphs {
        if !chosen.contains(&file) {
            continue;
        }
        let header = header(checkpoint, file, options, image_size);
        let path = onnx.join(file.file_name(options.dtype));
        let written = graph::write(graph, header, &path, options.external_data_threshold)?;
        tracing::info!(graph = file.name(), "written");
        files.extend(
            written
                .into_iter()
                .map(|(name, bytes)| (Path::new(FOLDER).join(name), bytes)),
        );
    }
    let external = with_external_data(&files);
    if !external.is_empty() {
        let config = bundle::config_with_external_data(checkpoint, &external)?;
        side_files.insert(CONFIG.to_owned(), config);
    }
    for (name, bytes) in side_files {
        AtomicFile::write(&folder.join(&name), &bytes)?;
        files.push((name.into(), bytes.len() as u64));
    }
    Ok(Report {
        files,
        unused_tensors,
        image_size,
    })
}

/// The graphs among `files` with external data.
fn with_external_data(files: &[(PathBuf, u64)]) -> BTreeSet<String> {
    let names = files.iter().filter_map(|(path, _)| path.file_name()?.to_str());
    names
        .filter_map(|name| name.strip_suffix(EXTERNAL_DATA_SUFFIX))
        .map(str::to_owned)
        .collect()
}

/// Returns one graph as the bytes of an ONNX file, with all its weights inside.
///
/// # Errors
/// As [`export`]; [`Error::GraphTooLarge`] if the file would exceed protobuf's limit of 2 GiB.
pub fn export_graph_bytes(
    checkpoint: &Checkpoint,
    file: GraphFile,
    options: &ExportOptions,
) -> Result<Vec<u8>> {
    let image_size = image_size(checkpoint, options)?;
    let (graphs, _) = build(checkpoint, options, image_size)?;
    let graph = graphs.into_iter().find(|(built, _)| *built == file);
    let (_, graph) = graph.ok_or(Error::NotInTarget { graph: file.name() })?;
    graph::serialize_inline(graph, header(checkpoint, file, options, image_size))
}

/// Returns the configuration and tokenizer files that [`export`] writes beside the graphs, by name.
///
/// # Errors
/// If a file of the checkpoint is damaged.
pub fn export_config_files(
    checkpoint: &Checkpoint,
    options: &ExportOptions,
) -> Result<Vec<(String, Vec<u8>)>> {
    Ok(bundle::files(checkpoint, image_size(checkpoint, options)?)?
        .into_iter()
        .collect())
}

/// The graphs of a target.
type Graphs<'a> = Vec<(GraphFile, Graph<'a>)>;

/// All graphs of the target, so that every weight is checked, and the names of weights that none of them uses.
fn build<'a>(
    checkpoint: &'a Checkpoint,
    options: &'a ExportOptions,
    image_size: ImageSize,
) -> Result<(Graphs<'a>, Vec<String>)> {
    let recipe = recipe(checkpoint, options, image_size)?;
    let weights = checkpoint.weights().multiplied(recipe.smoothing.tensors.clone());
    let graph = |&file| Ok((file, model::build(file, &recipe, &weights)?));
    let graphs = options.target.graphs().iter().map(graph).collect::<Result<_>>()?;
    recipe.dtypes.check()?;
    Ok((graphs, weights.unused()))
}

fn recipe<'r>(
    checkpoint: &'r Checkpoint,
    options: &'r ExportOptions,
    image_size: ImageSize,
) -> Result<Recipe<'r>> {
    let (target, config) = (options.target, checkpoint.config());
    if !target.dtypes().contains(&options.dtype) {
        return Err(Error::DtypeNotInTarget {
            target,
            dtype: options.dtype,
        });
    }
    if (options.observers || options.activation_ranges.is_some()) && target != Target::Cpu {
        return Err(Error::NoCalibration { target });
    }
    if options.float16_io && !options.dtype.is_float16() {
        return Err(Error::NoFloat16 { dtype: options.dtype });
    }
    config
        .vision_config
        .check_positions(image_size, config.text_config.max_position_embeddings)?;
    let smoothing = match &options.activation_ranges {
        Some(ranges) => Smoothing::new(config, &checkpoint.weights(), ranges)?,
        None => Smoothing::default(),
    };
    Ok(Recipe {
        target,
        config,
        image_size,
        dtypes: WeightDtypes::new(options.dtype, &options.keep_fp32),
        smoothing,
        observers: options.observers,
        float16_io: options.float16_io,
    })
}

fn header(
    checkpoint: &Checkpoint,
    file: GraphFile,
    options: &ExportOptions,
    image_size: ImageSize,
) -> ModelHeader {
    let target = options.target.spec();
    ModelHeader {
        name: file.name(),
        ir_version: target.ir_version,
        opsets: options.target.opsets(options.dtype),
        metadata: metadata::metadata(checkpoint.config(), file, options, image_size),
    }
}

fn image_size(checkpoint: &Checkpoint, options: &ExportOptions) -> Result<ImageSize> {
    match options.image_size {
        Some(side) => Ok(ImageSize::new(side, side)),
        None => bundle::image_size(checkpoint),
    }
}
