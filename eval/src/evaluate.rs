//! From a model and a data set to tallies.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::time::Instant;

use florence2::{Florence2, ImageFeatures, ImageLimits, ImageSize, RunOptions, TASKS, TaskKind, load_image};
use image::DynamicImage;
use serde::{Deserialize, Serialize};

use crate::dataset::{Dataset, Sample, Scene};
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

/// A question and the picture it is about.
struct Question<'a> {
    scene: &'a Scene,
    features: &'a ImageFeatures,
    sample: &'a Sample,
}

impl Evaluation {
    /// Asks `model` everything that is asked in `dataset`; `on_scene` is told of each scene before it is begun.
    ///
    /// Up to `batch_size` questions of one task, about as many scenes, are answered together.
    ///
    /// # Errors
    /// [`Error::NoPictures`] if none could be read (fewer are [counted](Self::unread)); what the engine reports.
    pub fn run(
        model: &Florence2,
        dataset: &Dataset,
        options: &RunOptions,
        batch_size: NonZeroUsize,
        mut on_scene: impl FnMut(&Scene),
    ) -> Result<Self> {
        let mut evaluation = Self::default();
        for scenes in dataset.scenes.chunks(batch_size.get()) {
            let mut encoded = Vec::with_capacity(scenes.len());
            for scene in scenes {
                on_scene(scene);
                encoded.extend(evaluation.encode(model, scene)?.map(|features| (scene, features)));
            }
            for spec in &TASKS {
                let questions: Vec<Question<'_>> = encoded
                    .iter()
                    .flat_map(|(scene, features)| questions(scene, features, spec.kind))
                    .collect();
                for batch in questions.chunks(batch_size.get()) {
                    evaluation.ask(model, spec.kind, batch, options)?;
                }
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

    /// The features of a scene's picture, if it can be read.
    fn encode(&mut self, model: &Florence2, scene: &Scene) -> Result<Option<ImageFeatures>> {
        let image = match picture(scene) {
            Ok(image) => image,
            Err(reason) => {
                let image = scene.name();
                self.unread.push(Unread { image, reason });
                return Ok(None);
            }
        };
        let start = Instant::now();
        let features = model.encode_image(&image)?;
        self.vision_seconds += start.elapsed().as_secs_f64();
        self.scenes += 1;
        Ok(Some(features))
    }

    fn ask(
        &mut self,
        model: &Florence2,
        task: TaskKind,
        batch: &[Question<'_>],
        options: &RunOptions,
    ) -> Result<()> {
        let requests: Vec<_> = batch
            .iter()
            .map(|question| (question.features, &question.sample.task))
            .collect();
        let start = Instant::now();
        let answers = model
            .answer_batch(&requests, options)
            .map_err(|source| Error::Answer {
                task: task.spec().tag,
                images: batch.iter().map(|question| question.scene.name()).collect(),
                source: Box::new(source),
            })?;
        let result = self.tasks.entry(task).or_default();
        result.seconds += start.elapsed().as_secs_f64();
        for (question, sequences) in batch.iter().zip(answers) {
            let Some(best) = sequences.first() else { continue };
            result.answers += 1;
            result.tokens += best.token_ids.len();
            let scores = score(task, &best.parsed, &question.sample.truth);
            let truncated = (Metric::Truncated, Ratio::of_one(best.truncated));
            result.tally.extend(scores.into_iter().chain([truncated]));
        }
        Ok(())
    }
}

fn questions<'a>(
    scene: &'a Scene,
    features: &'a ImageFeatures,
    task: TaskKind,
) -> impl Iterator<Item = Question<'a>> {
    let samples = scene.samples.iter().filter(move |sample| sample.kind == task);
    samples.map(move |sample| Question {
        scene,
        features,
        sample,
    })
}

/// A scene's picture, or what is wrong with it.
fn picture(scene: &Scene) -> Result<DynamicImage, String> {
    let image = load_image(&scene.image, &ImageLimits::default()).map_err(|error| describe(&error))?;
    let size = ImageSize::new(image.width(), image.height());
    match size == scene.size {
        true => Ok(image.into()),
        false => Err(format!(
            "it is {}x{} pixels, not {}x{} as in the data set",
            size.width, size.height, scene.size.width, scene.size.height
        )),
    }
}
