//! Running a model on a data set.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::time::Instant;

use florence2::{Florence2, ImageFeatures, ImageSize, RunOptions, TASKS, TaskKind, load_image};
use image::RgbImage;
use serde::{Deserialize, Serialize};

use super::dataset::{Dataset, Sample, Scene};
use super::metric::{Metric, Tally};
use super::score::score;
use crate::console::Progress;
use crate::error::{Error, Result, describe};

/// The scores and times of a model on a data set.
#[derive(Debug, Default)]
pub struct Evaluation {
    pub tasks: HashMap<TaskKind, TaskResult>,
    /// The number of scenes whose image was read.
    pub scenes: usize,
    /// Seconds for preprocessing and vision encoder, summed over these scenes.
    pub vision_seconds: f64,
    /// The scenes whose image could not be read.
    pub unread: Vec<Unread>,
}

/// The sums over one task's answers.
#[derive(Debug, Default)]
pub struct TaskResult {
    pub answers: usize,
    /// Tokens generated.
    pub tokens: usize,
    /// Seconds from image features to answers.
    pub seconds: f64,
    pub tally: Tally,
}

/// A scene whose image could not be read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Unread {
    /// The image's file name.
    pub image: String,
    pub reason: String,
}

/// A sample, its scene and the scene's features.
type Question<'a> = (&'a Sample, &'a Scene, &'a ImageFeatures);

impl Evaluation {
    /// Evaluates `model` on all samples of `dataset`; `progress` counts scenes.
    ///
    /// Up to `batch_size` samples of one task, from up to `batch_size` scenes, form a batch.
    ///
    /// # Errors
    /// [`Error::Dataset`] if no image can be read (single ones are [recorded](Self::unread)), [`Error::Answer`] if the
    /// engine fails on a batch.
    pub fn run(
        model: &Florence2,
        dataset: &Dataset,
        options: &RunOptions,
        batch_size: NonZeroUsize,
        progress: &Progress,
    ) -> Result<Self> {
        let mut evaluation = Self::default();
        for scenes in dataset.scenes.chunks(batch_size.get()) {
            let mut encoded = Vec::with_capacity(scenes.len());
            for scene in scenes {
                progress.message(scene.name());
                encoded.extend(evaluation.encode(model, scene)?.map(|features| (scene, features)));
                progress.step();
            }
            for spec in &TASKS {
                let questions: Vec<Question<'_>> = encoded
                    .iter()
                    .flat_map(|(scene, features)| {
                        let samples = scene.samples.iter().filter(|sample| sample.kind == spec.kind);
                        samples.map(move |sample| (sample, *scene, features))
                    })
                    .collect();
                for batch in questions.chunks(batch_size.get()) {
                    evaluation.answer(model, spec.kind, batch, options)?;
                }
            }
        }
        match (evaluation.scenes, evaluation.unread.first()) {
            (0, Some(Unread { image, reason })) => Err(Error::Dataset {
                path: dataset.folder.clone(),
                reason: format!("not one image could be read; the first: {image}: {reason}"),
            }),
            _ => Ok(evaluation),
        }
    }

    /// Returns the features of a scene's image, or `None` if the image cannot be read.
    fn encode(&mut self, model: &Florence2, scene: &Scene) -> Result<Option<ImageFeatures>> {
        let image = match read_image(scene) {
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

    /// Answers a batch of samples of one task and adds up scores, tokens and seconds.
    fn answer(
        &mut self,
        model: &Florence2,
        task: TaskKind,
        batch: &[Question<'_>],
        options: &RunOptions,
    ) -> Result<()> {
        let requests: Vec<_> = batch
            .iter()
            .map(|&(sample, _, features)| (features, &sample.task))
            .collect();
        let start = Instant::now();
        let answers = model
            .run_batch(requests, options)
            .map_err(|source| Error::Answer {
                task: task.spec().tag,
                images: batch.iter().map(|(_, scene, _)| scene.name()).collect(),
                source: Box::new(source),
            })?;
        let result = self.tasks.entry(task).or_default();
        result.seconds += start.elapsed().as_secs_f64();
        for ((sample, ..), best) in batch.iter().zip(answers) {
            result.answers += 1;
            result.tokens += best.token_ids.len();
            score(&mut result.tally, task, &best.parsed, &sample.truth);
            result.tally.of(Metric::Truncated).add_one(best.truncated);
        }
        Ok(())
    }
}

/// Reads a scene's image and checks its size; the error is the reason why it cannot be used.
fn read_image(scene: &Scene) -> Result<RgbImage, String> {
    let image = load_image(&scene.image).map_err(|error| describe(&error))?;
    let (size, expected) = (ImageSize::new(image.width(), image.height()), scene.size);
    if size != expected {
        return Err(format!(
            "it is {}x{} pixels, not {}x{} as in the data set",
            size.width, size.height, expected.width, expected.height
        ));
    }
    Ok(image)
}
