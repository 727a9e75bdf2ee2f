//! The engine: a loaded model, which answers tasks about images.

mod features;
mod fingerprint;
mod input;
mod load;
mod run;
mod stages;
mod vision;

pub use features::ImageFeatures;
pub use input::ImageInput;

use std::fmt;

use self::vision::VisionEncoder;
use crate::bundle::Bundle;
use crate::decode::LanguageModel;
use crate::error::Result;
use crate::generation::GenerationConfig;
use crate::postprocess::ParseOptions;
use crate::preprocess::ImageProcessor;
use crate::prompt::Prompts;
use crate::repair::Repair;
use crate::runtime::Placement;
use crate::task::{OutputKind, Task};
use crate::tokenizer::Tokenizer;

/// A loaded Florence-2 model.
///
/// It is `Send + Sync` and its methods take `&self`: share it between threads. Each graph is locked only during a run, so that
/// one thread's vision encoder runs beside another's decoder.
///
/// | | |
/// |---|---|
/// | answers | [`run`](Self::run), [`run_with`](Self::run_with), [`run_batch`](Self::run_batch), [`stream`](Self::stream) |
/// | constructors | [`from_pretrained`](Self::from_pretrained), [`load`](Self::load), `demo` (feature `demo`) |
/// | stages | [`encode_image`](Self::encode_image), [`image_features`](Self::image_features), [`prompt_ids`](Self::prompt_ids), [`encoder_hidden_states`](Self::encoder_hidden_states), [`next_token_logits`](Self::next_token_logits), [`parse`](Self::parse) |
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

/// Writes the model's name only.
impl fmt::Debug for Florence2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Florence2")
            .field("name", &self.bundle.source.name())
            .finish_non_exhaustive()
    }
}

impl Florence2 {
    /// Returns the model's files.
    pub fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    /// Returns where the nodes of each loaded graph run.
    pub fn placements(&self) -> Vec<&Placement> {
        let mut placements = vec![self.vision.placement()];
        placements.extend(self.language.placements());
        placements
    }

    /// Returns the repair of a graph that was exported incorrectly; `None` if all graphs run as they are.
    pub fn repair(&self) -> Option<&Repair> {
        self.vision.repair()
    }

    /// Returns the SHA-256 of the vision encoder's graph and weights, in hexadecimal: [`ImageFeatures`] with another one are
    /// refused. The first call reads the files whole.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) if a file cannot be read any more; [`Error::InvalidOption`](crate::Error::InvalidOption)
    /// if the vision encoder is the application's own session.
    pub fn fingerprint(&self) -> Result<&str> {
        self.vision.identity().fingerprint()
    }

    /// Returns the image processor, which makes pixel values of images.
    pub fn image_processor(&self) -> &ImageProcessor {
        &self.image_processor
    }

    /// Returns the tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Returns the checkpoint's generation settings, to which [`RunOptions`](crate::RunOptions) are applied.
    pub fn generation_config(&self) -> &GenerationConfig {
        &self.generation
    }

    /// Returns how the answer to a task is parsed: for the tag of a fine-tune's own task, as the checkpoint's processor
    /// configuration has it.
    pub fn output_kind(&self, task: &Task) -> OutputKind {
        self.prompts.output_kind(task)
    }

    /// Returns the settings for parsing answers, as read from the checkpoint's processor configuration.
    pub fn parse_options(&self) -> &ParseOptions {
        &self.parse_options
    }
}
