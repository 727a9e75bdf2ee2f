//! Exporting a checkpoint to a deployment's folder, or to graphs in memory.

#[cfg(test)]
mod device_copies;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use florence2_layout::files::CONFIG;
use florence2_layout::graphs::{EXTENSION, EXTERNAL_DATA_SUFFIX, FOLDER, GraphFile};

use crate::atomic_file::AtomicFile;
use crate::bundle;
use crate::calibration::ActivationRanges;
use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::graph::{self, Graph, ModelHeader};
use crate::image_size::ImageSize;
use crate::metadata;
use crate::model::{self, Recipe};
use crate::precisions::Precisions;
use crate::smoothing::Smoothing;
use crate::target::{Precision, Target};

/// Options of an export.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ExportOptions {
    /// The kind of runtime that the graphs are for.
    pub target: Target,
    /// How weights are stored.
    pub precision: Precision,
    /// Patterns of the paths of modules whose weights stay in 32-bit floats in any precision; in 16-bit precisions their
    /// arithmetic does too, also that of modules without weights. A pattern is a sequence of whole parts of such a path,
    /// with `*` for any characters of a part: `vision_tower.blocks.3` for a stage, `fc2` for the second layer of each MLP.
    pub keep_fp32: Vec<String>,
    /// Whether inputs, outputs and KV caches are 16-bit floats in a precision that computes in them. Otherwise they are
    /// 32-bit floats, as in most deployments, and cast inside the graph, except for [`Target::Cuda`]'s caches, which are
    /// 16-bit floats in any case.
    pub float16_io: bool,
    /// The ranges of activations, recorded from graphs with [`observers`](Self::observers): the scales of channels are
    /// then evened out before quantized layers (*SmoothQuant*). For [`Target::Cpu`].
    pub activation_ranges: Option<ActivationRanges>,
    /// Whether to add the outputs that [`ActivationRanges`] are recorded from. For [`Target::Cpu`], best in
    /// [`Precision::Fp32`].
    pub observers: bool,
    /// Side of the square images that the vision encoder takes, in pixels; `None` for the side in the checkpoint's
    /// `preprocessor_config.json`, else 768.
    pub image_size: Option<u32>,
    /// The graphs to write; `None` for all of the target's.
    pub graphs: Option<Vec<GraphFile>>,
    /// The number of bytes of weights above which a graph keeps the big ones in a file beside it (`.onnx_data`), which
    /// ONNX Runtime maps instead of reading: it then loads in half the time and memory.
    pub external_data_threshold: u64,
    /// The name in the graphs' metadata; `None` for that of the published model of the same dimensions.
    pub model_name: Option<String>,
}

impl Default for ExportOptions {
    fn default() -> Self {
        ExportOptions {
            target: Target::default(),
            precision: Precision::default(),
            keep_fp32: Vec::new(),
            float16_io: false,
            activation_ranges: None,
            observers: false,
            image_size: None,
            graphs: None,
            external_data_threshold: 32 << 20,
            model_name: None,
        }
    }
}

impl ExportOptions {
    /// Sets [`target`](Self::target).
    pub fn with_target(mut self, target: Target) -> Self {
        self.target = target;
        self
    }

    /// Sets [`precision`](Self::precision).
    pub fn with_precision(mut self, precision: Precision) -> Self {
        self.precision = precision;
        self
    }

    /// Sets [`keep_fp32`](Self::keep_fp32).
    pub fn with_keep_fp32(mut self, patterns: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.keep_fp32 = patterns.into_iter().map(Into::into).collect();
        self
    }

    /// Sets [`float16_io`](Self::float16_io).
    pub fn with_float16_io(mut self, float16_io: bool) -> Self {
        self.float16_io = float16_io;
        self
    }

    /// Sets [`activation_ranges`](Self::activation_ranges).
    pub fn with_activation_ranges(mut self, ranges: ActivationRanges) -> Self {
        self.activation_ranges = Some(ranges);
        self
    }

    /// Sets [`observers`](Self::observers).
    pub fn with_observers(mut self, observers: bool) -> Self {
        self.observers = observers;
        self
    }

    /// Sets [`image_size`](Self::image_size).
    pub fn with_image_size(mut self, side: u32) -> Self {
        self.image_size = Some(side);
        self
    }

    /// Sets [`graphs`](Self::graphs).
    pub fn with_graphs(mut self, graphs: impl Into<Vec<GraphFile>>) -> Self {
        self.graphs = Some(graphs.into());
        self
    }

    /// Sets [`external_data_threshold`](Self::external_data_threshold).
    pub fn with_external_data_threshold(mut self, bytes: u64) -> Self {
        self.external_data_threshold = bytes;
        self
    }

    /// Sets [`model_name`](Self::model_name).
    pub fn with_model_name(mut self, name: impl Into<String>) -> Self {
        self.model_name = Some(name.into());
        self
    }
}

/// The files that an export wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Each file, relative to the folder, and its size in bytes.
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
/// Names the tensor, setting or file that is missing or wrong.
pub fn export(checkpoint: &Checkpoint, folder: impl AsRef<Path>, options: &ExportOptions) -> Result<Report> {
    let folder = folder.as_ref();
    if checkpoint.lies_in(folder) {
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
        tracing::warn!(tensor = %name, "no graph has a use for this tensor");
    }
    // Damaged files are reported before the graphs are written, which takes longer.
    let mut side_files = bundle::files(checkpoint, image_size)?;
    let onnx = folder.join(FOLDER);
    std::fs::create_dir_all(&onnx).map_err(|source| Error::Write {
        path: onnx.clone(),
        source,
    })?;

    let mut files = Vec::new();
    for (file, graph) in graphs {
        if !chosen.contains(&file) {
            continue;
        }
        let header = header(checkpoint, file, options, image_size);
        let path = onnx.join(format!(
            "{}{}{EXTENSION}",
            file.name(),
            options.precision.suffix()
        ));
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
        let config = bundle::naming_external_data(checkpoint, &external)?;
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

/// The graph files among `files` whose weights are in a file beside them.
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
/// As [`export`]; also [`Error::GraphTooLarge`] over protobuf's limit of 2 GiB.
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
/// Names the file that is damaged.
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
    recipe.precisions.check()?;
    Ok((graphs, weights.unused()))
}

fn recipe<'r>(
    checkpoint: &'r Checkpoint,
    options: &'r ExportOptions,
    image_size: ImageSize,
) -> Result<Recipe<'r>> {
    let (target, config) = (options.target, checkpoint.config());
    target.check(options.precision)?;
    if (options.observers || options.activation_ranges.is_some()) && target != Target::Cpu {
        return Err(Error::NoCalibration { target });
    }
    if options.float16_io && !options.precision.is_float16() {
        return Err(Error::NoFloat16 {
            precision: options.precision,
        });
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
        precisions: Precisions::new(options.precision, &options.keep_fp32),
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
        opsets: options.target.opsets(options.precision),
        metadata: metadata::metadata(checkpoint.config(), file, options, image_size),
    }
}

fn image_size(checkpoint: &Checkpoint, options: &ExportOptions) -> Result<ImageSize> {
    match options.image_size {
        Some(side) => Ok(ImageSize::square(side as usize)),
        None => bundle::image_size(checkpoint),
    }
}
