//! From a model and a data set to tallies.

use std::collections::HashMap;

use florence2::{Florence2, ImageFeatures, ImageLimits, ImageSize, RunOptions, TASKS, TaskKind, load_image};
use serde::{Deserialize, Serialize};

use crate::dataset::{Dataset, Scene};
use crate::error::{Error, Result, describe};
use crate::metrics::{Metric, Ratio, Tally, score};

/// What came of all questions.
#[derive(Debug, Default)]
pub struct Evaluation {
    tasks: HashMap<TaskKind, TaskResult>,
    /// Scenes whose picture was read.
    pub scenes: usize,
    /// Seconds for pixels and vision encoder, over all of these.
    pub vision_seconds: f64,
    /// Scenes whose picture was not.
    pub unread: Vec<Unread>,
}

/// What came of one task.
#[derive(Debug, Default)]
pub struct TaskResult {
    /// Answers given.
    pub answers: usize,
    /// Tokens generated.
    pub tokens: usize,
    /// Seconds from image features to answers.
    pub seconds: f64,
    /// The quality.
    pub tally: Tally,
}

/// A scene that nothing was asked about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Unread {
    /// The picture's file name.
    pub image: String,
    /// What is wrong with it.
    pub reason: String,
}

impl Evaluation {
    /// Asks `model` everything that is asked in `dataset`; `on_scene` is told of each scene before it is begun.
    ///
    /// # Errors
    /// [`Error::NoPictures`] if none could be read (fewer are [counted](Self::unread)); what the engine reports.
    pub fn run(
        model: &Florence2,
        dataset: &Dataset,
        options: &RunOptions,
        mut on_scene: impl FnMut(&Scene),
    ) -> Result<Self> {
        let mut evaluation = Self::default();
        for scene in &dataset.scenes {
            on_scene(scene);
            match encode(model, scene)? {
                Ok(features) => evaluation.ask(model, scene, &features, options)?,
                Err(reason) => evaluation.unread.push(Unread {
                    image: scene.name(),
                    reason,
                }),
            }
        }
        match evaluation.unread.first() {
            Some(Unread { image, reason }) if evaluation.scenes == 0 => Err(Error::NoPictures {
                image: image.clone(),
                reason: reason.clone(),
            }),
            _ => Ok(evaluation),
        }
    }

    /// The tasks that were asked, in the order of [`TASKS`].
    pub fn tasks(&self) -> impl Iterator<Item = (TaskKind, &TaskResult)> {
        TASKS
            .iter()
            .filter_map(|spec| Some((spec.kind, self.tasks.get(&spec.kind)?)))
    }

    fn ask(
        &mut self,
        model: &Florence2,
        scene: &Scene,
        features: &ImageFeatures,
        options: &RunOptions,
    ) -> Result<()> {
        self.scenes += 1;
        for (index, sample) in scene.samples.iter().enumerate() {
            let output = model
                .answer(features, &sample.task, options)
                .map_err(|source| Error::Answer {
                    task: sample.task.tag().to_owned(),
                    image: scene.name(),
                    source,
                })?;
            let timings = output.timings;
            if index == 0 {
                self.vision_seconds += timings.preprocess + timings.vision_encoder;
            }
            let result = self.tasks.entry(sample.kind).or_default();
            result.answers += 1;
            result.tokens += output.token_ids.len();
            result.seconds += timings.text_encoder + timings.generation + timings.postprocess;
            let scores = score(sample.kind, &output.parsed, &sample.truth);
            result.tally.extend(scores);
            result
                .tally
                .extend([(Metric::Truncated, Ratio::of_one(output.truncated))]);
        }
        Ok(())
    }
}

/// The features of a scene's picture, or why there are none.
fn encode(model: &Florence2, scene: &Scene) -> Result<Result<ImageFeatures, String>> {
    let image = match load_image(&scene.image, &ImageLimits::default()) {
        Ok(image) => image,
        Err(error) => return Ok(Err(describe(&error))),
    };
    let size = ImageSize::new(image.width(), image.height());
    if size != scene.size {
        return Ok(Err(format!(
            "it is {}x{} pixels, not {}x{} as in the data set",
            size.width, size.height, scene.size.width, scene.size.height
        )));
    }
    Ok(Ok(model.encode_image(&image.into())?))
}
