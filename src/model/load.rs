//! Loading a model's files.

use std::path::Path;

use florence2_layout::tokens;

use super::Florence2;
use super::vision::VisionEncoder;
use crate::bundle::{Bundle, BundleSource};
use crate::decode::{LanguageModel, load_language_model};
use crate::error::{Error, Result};
use crate::generation::GenerationConfig;
#[cfg(feature = "hub")]
use crate::hub::{self, ModelId};
use crate::options::LoadOptions;
use crate::preprocess::{ImageBackend, ImageProcessor};
use crate::runtime;
use crate::tokenizer::Tokenizer;

/// Checks that the image processor's output size is the vision encoder's input size.
fn check_image_size(bundle: &Bundle, processor: &ImageProcessor, vision: &VisionEncoder) -> Result<()> {
    match (processor.crop_size.or(processor.size), vision.image_size()) {
        (Some(made), Some(taken)) if made != taken => Err(Error::InvalidBundle {
            path: bundle.source.path(""),
            reason: format!(
                "the vision encoder takes {}x{} pixels, but preprocessor_config.json makes {}x{}. Export the model again.",
                taken.width, taken.height, made.width, made.height
            ),
        }),
        _ => Ok(()),
    }
}

/// Checks that the decoder has logits for location tokens, the last of the vocabulary.
fn check_vocabulary(bundle: &Bundle, tokenizer: &Tokenizer, language: &dyn LanguageModel) -> Result<()> {
    let Some(scored) = language.vocabulary_size() else {
        return Ok(());
    };
    let last = tokens::location(tokens::LOCATION_BINS - 1);
    match tokenizer.token_to_id(&last) {
        Some(id) if usize::try_from(id).is_ok_and(|id| id >= scored) => Err(Error::InvalidBundle {
            path: bundle.source.path(""),
            reason: format!(
                "the decoder scores {scored} tokens, but the tokenizer has {last} as number {id}: it is another \
                 model's. Fetch or export the model again."
            ),
        }),
        _ => Ok(()),
    }
}

/// Returns the image processor. If no file has the image size, it is the fixed input size of the vision encoder, if
/// there is one.
fn image_processor(bundle: &Bundle, vision: &VisionEncoder, backend: ImageBackend) -> Result<ImageProcessor> {
    let mut processor = match &bundle.preprocessor_config {
        Some(config) => ImageProcessor::from_config(config)?,
        None => {
            let default = ImageProcessor::default();
            let size = vision.image_size().or(default.size);
            tracing::info!(
                ?size,
                "no preprocessor_config.json: images are processed as for the published models"
            );
            ImageProcessor { size, ..default }
        }
    };
    processor.backend = backend;
    check_image_size(bundle, &processor, vision)?;
    Ok(processor)
}

impl Florence2 {
    /// Loads a model from a folder, or by its name on a hub: `organisation/name`, or `organisation/name@revision`.
    ///
    /// A folder holds `config.json`, `tokenizer.json`, ... and the graphs in `onnx/` (or beside them), in the layout of
    /// the onnx-community deployments or that of an export for target `cpu`. With the feature `hub`, any other name is a
    /// model on the hub: see [`hub::prepare`](crate::hub::prepare).
    ///
    /// # Errors
    /// If ONNX Runtime cannot be started, no folder or model has this name, or the model is incomplete; errors of
    /// `hub::prepare`.
    pub fn from_pretrained(name_or_folder: impl AsRef<Path>, options: LoadOptions) -> Result<Self> {
        let path = name_or_folder.as_ref();
        if path.exists() {
            #[cfg(feature = "hub")]
            let inside = options.hub.subfolder.as_ref().map(|folder| path.join(folder));
            #[cfg(feature = "hub")]
            let path = inside.as_deref().unwrap_or(path);
            return Self::load(BundleSource::Folder(path.to_owned()), options);
        }
        #[cfg(feature = "hub")]
        if let Some(name) = path.to_str() {
            return Self::from_hub(&name.parse()?, options);
        }
        Err(Error::UnknownModel {
            name: path.display().to_string(),
        })
    }

    /// Loads a model from a hub.
    ///
    /// # Errors
    /// As [`hub::prepare`](crate::hub::prepare) and [`load`](Self::load).
    #[cfg(feature = "hub")]
    pub fn from_hub(id: &ModelId, options: LoadOptions) -> Result<Self> {
        // Checked before large files are fetched for a device that cannot be used.
        let devices = &options.session.devices;
        if !devices.kinds().is_empty() {
            runtime::init(&options.runtime_for_devices())?;
            devices.check_usable()?;
        }
        let prepared = hub::prepare(id, &options)?;
        let folder = BundleSource::Folder(prepared.folder);
        let loaded = Self::load(folder.clone(), options.clone());
        if prepared.exported || !matches!(loaded, Err(Error::Ort { .. } | Error::InvalidGraph { .. })) {
            return loaded;
        }
        // ONNX Runtime rejects some published decoders; others are loaded if their files are there.
        match hub::prepare_files(id, &options, true) {
            Ok(more) if more.files.len() > prepared.files.len() => Self::load(folder, options),
            _ => loaded,
        }
    }

    /// Loads the crate's demo model: small, and trained on drawn shapes and signs.
    ///
    /// # Errors
    /// If ONNX Runtime cannot be started.
    #[cfg(feature = "demo")]
    pub fn demo(options: LoadOptions) -> Result<Self> {
        Self::load(crate::demo::bundle()?, options)
    }

    /// Loads a model from a folder or from memory.
    ///
    /// # Errors
    /// If ONNX Runtime cannot be started, or the model is incomplete.
    pub fn load(source: BundleSource, options: LoadOptions) -> Result<Self> {
        let runtime = options.runtime_for_devices();
        let mut bundle = Bundle::open_with(source, options.dtypes()?, options.names)?;
        bundle.layout.sessions = options.sessions;
        bundle.check()?;
        let tokenizer = bundle.tokenizer()?;
        let mut generation =
            GenerationConfig::from_json(bundle.generation_config.as_ref(), bundle.config.as_ref())?;
        // Many fine-tunes have the wrong token in their settings; the tokenizer has the right one.
        if !generation.eos_token_ids.contains(&tokenizer.eos()) {
            generation.eos_token_ids.push(tokenizer.eos());
        }
        let prompts = bundle.prompts();
        let parse_options = bundle.parse_options();

        let session = &options.session;
        session.devices.check_options(&session.provider_options)?;
        let repair_for = bundle.image_size()?.filter(|_| options.repair);
        runtime::init(&runtime)?;
        // ONNX Runtime loads a graph in one thread.
        let (vision, language) = rayon::join(
            || VisionEncoder::load(&bundle, session, repair_for),
            || load_language_model(&bundle, session, tokenizer.pad()),
        );
        let (vision, language) = (vision?, language?);
        check_vocabulary(&bundle, &tokenizer, &*language)?;
        let vocabulary = language.vocabulary_size().unwrap_or(tokenizer.vocabulary_size());
        generation.replace_unknown_tokens(vocabulary, tokenizer.bos(), tokenizer.eos());
        Ok(Self {
            image_processor: image_processor(&bundle, &vision, options.image_backend)?,
            language,
            bundle,
            tokenizer,
            prompts,
            generation,
            parse_options,
            vision,
        })
    }
}
