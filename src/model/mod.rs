//! The engine: a loaded model, and the way from an image and a task to a typed answer.

mod features;
mod load;
mod run;
mod stages;

pub use features::ImageFeatures;

use std::fmt;

use crate::bundle::Bundle;
use crate::generation::GenerationConfig;
use crate::graph::{LanguageModel, VisionEncoder};
use crate::postprocess::ParseOptions;
use crate::preprocess::ImageProcessor;
use crate::prompt::Prompts;
use crate::repair::Repair;
use crate::runtime::Placement;
use crate::tokenizer::Tokenizer;

/// A loaded Florence-2 model.
///
/// It is `Send + Sync` and works through `&self`: share it between threads. Each graph is locked only while it
/// runs, so that one thread's vision encoder runs beside another's decoder.
pub struct Florence2 {
    bundle: Bundle,
    image_processor: ImageProcessor,
    tokenizer: Tokenizer,
    prompts: Prompts,
    generation: GenerationConfig,
    parse_options: ParseOptions,
    vision: VisionEncoder,
    language: Box<dyn LanguageModel>,
}

/// The model's name: its files and graphs are too much for a message.
impl fmt::Debug for Florence2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Florence2")
            .field("name", &self.bundle.source.name())
            .finish_non_exhaustive()
    }
}

impl Florence2 {
    /// The model's files.
    pub fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    /// Where the nodes of each of the loaded graphs run.
    pub fn placements(&self) -> Vec<&Placement> {
        let mut placements = vec![self.vision.placement()];
        placements.extend(self.language.placements());
        placements
    }

    /// Returns the repair of a graph that was exported wrong; `None` if all graphs run as they are.
    pub fn repair(&self) -> Option<&Repair> {
        self.vision.repair()
    }

    /// How images become pixel values.
    pub fn image_processor(&self) -> &ImageProcessor {
        &self.image_processor
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The checkpoint's settings of the search, to which [`RunOptions`](crate::RunOptions) are applied.
    pub fn generation_config(&self) -> &GenerationConfig {
        &self.generation
    }

    /// How the checkpoint's processor configuration wants answers to be read.
    pub fn parse_options(&self) -> &ParseOptions {
        &self.parse_options
    }
}
