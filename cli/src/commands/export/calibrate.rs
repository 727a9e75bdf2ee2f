//! `--calibrate`: the ranges of activations on sample images.

use std::path::{Path, PathBuf};

use florence2::ndarray::Array4;
use florence2::ort::session::{Session, SessionOutputs};
use florence2::ort::{self, value::Tensor};
use florence2::runtime::{GraphSource, SessionOptions, build_session};
use florence2::{Bundle, BundleSource, Error as EngineError, ImageProcessor, TASKS, TaskInput, load_image};
use florence2_export::{ActivationRanges, Checkpoint, Dtype, ExportOptions, GraphFile, Target, export};
use florence2_layout::graphs::{EXTENSION, FOLDER, IMAGE_FEATURES, INPUT_IDS, PIXEL_VALUES};

use crate::console::Console;
use crate::error::{Error, Result};

/// Returns the activation ranges of both encoders, exported in fp32 with observers and run on each image with every prompt
/// that takes no input.
pub fn activation_ranges(
    checkpoint: &Checkpoint,
    images: &[PathBuf],
    options: &ExportOptions,
    session: &SessionOptions,
    console: &Console,
) -> Result<ActivationRanges> {
    let folder = tempfile::tempdir().map_err(Error::io("a temporary folder"))?;
    let observers = options
        .clone()
        .with_target(Target::Cpu)
        .with_dtype(Dtype::Fp32)
        .with_keep_fp32(Vec::<String>::new())
        .with_observers(true)
        .with_graphs([GraphFile::VisionEncoder, GraphFile::TextEncoder]);
    let spinner = console.spinner("preparing the calibration");
    export(checkpoint, folder.path(), &observers)?;
    let bundle = Bundle::open(BundleSource::Folder(folder.path().to_owned()))?;
    let processor = match &bundle.preprocessor_config {
        Some(config) => ImageProcessor::from_config(config)?,
        None => ImageProcessor::default(),
    };
    let mut encoders = Encoders {
        vision: load(folder.path(), GraphFile::VisionEncoder, session)?,
        text: load(folder.path(), GraphFile::TextEncoder, session)?,
        prompts: prompts(&bundle)?,
    };
    drop(spinner);

    let mut ranges = ActivationRanges::default();
    let bar = console.bar(images.len());
    for path in images {
        bar.message(path.display().to_string());
        let image = load_image(path)?;
        let pixels = processor.process(&image)?.into_array();
        let observed = encoders.observe(pixels, &mut ranges);
        observed.map_err(|source| EngineError::Ort {
            context: format!("calibrating on {}", path.display()),
            source: source.into(),
        })?;
        bar.step();
    }
    Ok(ranges)
}

fn load(folder: &Path, file: GraphFile, options: &SessionOptions) -> Result<Session> {
    let path = folder.join(FOLDER).join(format!("{}{EXTENSION}", file.name()));
    Ok(build_session(&GraphSource::File(path), options)?)
}

/// Returns the token ids of the prompts that take no input.
fn prompts(bundle: &Bundle) -> Result<Vec<Vec<i64>>> {
    let tokenizer = bundle.tokenizer()?;
    let tasks = TASKS.iter().filter(|task| task.input == TaskInput::None);
    let prompts = tasks.map(|task| {
        let ids = tokenizer.encode_prompt(task.prompt)?;
        Ok(ids.into_iter().map(i64::from).collect())
    });
    prompts.collect()
}

/// Both encoders, with observers.
struct Encoders {
    vision: Session,
    text: Session,
    prompts: Vec<Vec<i64>>,
}

impl Encoders {
    /// Records the ranges of activations for an image and all prompts.
    fn observe(&mut self, pixels: Array4<f32>, ranges: &mut ActivationRanges) -> ort::Result<()> {
        let pixels = Tensor::from_array(pixels)?;
        let outputs = self.vision.run(ort::inputs! { PIXEL_VALUES => pixels })?;
        record(&outputs, ranges)?;
        let features = &outputs[IMAGE_FEATURES];
        for prompt in &self.prompts {
            let ids = Tensor::from_array(([1, prompt.len()], prompt.clone()))?;
            let inputs = ort::inputs! { INPUT_IDS => ids, IMAGE_FEATURES => features };
            record(&self.text.run(inputs)?, ranges)?;
        }
        Ok(())
    }
}

fn record(outputs: &SessionOutputs<'_>, ranges: &mut ActivationRanges) -> ort::Result<()> {
    for (name, value) in outputs {
        if ActivationRanges::is_observer(name) {
            let (_, magnitudes) = value.try_extract_tensor::<f32>()?;
            ranges.record(name, magnitudes);
        }
    }
    Ok(())
}
