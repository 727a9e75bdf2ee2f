//! Labelled scenes: `scenes.jsonl` and its images, in the format of `docs/evaluation.md`.

use std::fs;
use std::path::{Path, PathBuf};

use florence2::{BoundingBox, Cause, ImageSize, Parsed, Region, Task, TaskKind};
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::truth;
use crate::error::{Error, Result};

/// The file that describes the scenes.
const SCENES: &str = "scenes.jsonl";

/// A data set, or the selected part of one.
#[derive(Debug)]
pub struct Dataset {
    pub folder: PathBuf,
    pub scenes: Vec<Scene>,
    /// The SHA-256 of the scenes' lines, in hexadecimal, by which results on the same scenes are recognised.
    pub sha256: String,
}

/// An image and its samples.
#[derive(Debug)]
pub struct Scene {
    pub image: PathBuf,
    /// The image's size according to the data set.
    pub size: ImageSize,
    pub samples: Vec<Sample>,
}

/// A task with its true answer.
#[derive(Debug)]
pub struct Sample {
    /// The task without its input.
    pub kind: TaskKind,
    pub task: Task,
    pub truth: Parsed,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SceneLine {
    image: PathBuf,
    width: u32,
    height: u32,
    samples: Vec<SampleLine>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SampleLine {
    task: String,
    #[serde(default)]
    input: Option<String>,
    #[serde(default)]
    region: Option<[f32; 4]>,
    truth: Value,
}

impl Dataset {
    /// Reads the scenes in `folder`, without their images: the first `limit` scenes and, unless `tasks` is empty,
    /// only the samples of these tasks.
    ///
    /// # Errors
    /// [`Error::Dataset`] if there are no scenes, for the first line that violates the format, and if the selection has
    /// no sample.
    pub fn open(folder: &Path, limit: Option<usize>, tasks: &[TaskKind]) -> Result<Self> {
        let path = folder.join(SCENES);
        let error = |reason: String| Error::Dataset {
            path: path.clone(),
            reason,
        };
        let text = fs::read_to_string(&path).map_err(|cause| {
            error(format!(
                "{cause}; a data set is a folder with {SCENES} and its images: see docs/evaluation.md"
            ))
        })?;
        let lines = text.lines().enumerate();
        let lines = lines.filter(|(_, line)| !line.trim().is_empty());

        let mut sha256 = Sha256::new();
        let mut scenes = Vec::new();
        for (index, line) in lines.take(limit.unwrap_or(usize::MAX)) {
            sha256.update(line);
            sha256.update("\n");
            let mut scene = Scene::parse(line, folder).map_err(|cause| {
                error(format!(
                    "line {}: {cause}; the format is in docs/evaluation.md",
                    index + 1
                ))
            })?;
            scene
                .samples
                .retain(|sample| tasks.is_empty() || tasks.contains(&sample.kind));
            scenes.push(scene);
        }
        if scenes.iter().all(|scene| scene.samples.is_empty()) {
            return Err(error(
                "no sample of the selected tasks and scenes; see --tasks and --limit".into(),
            ));
        }
        let sha256 = sha256.finalize();
        Ok(Self {
            folder: folder.to_owned(),
            scenes,
            sha256: sha256.iter().map(|byte| format!("{byte:02x}")).collect(),
        })
    }
}

impl Scene {
    fn parse(line: &str, folder: &Path) -> Result<Self, Cause> {
        let line: SceneLine = serde_json::from_str(line)?;
        let size = ImageSize::new(line.width, line.height);
        let samples = line.samples.into_iter().enumerate().map(|(index, sample)| {
            let tag = sample.task.clone();
            Sample::new(sample, size).map_err(|cause| format!("sample {} ({tag}): {cause}", index + 1).into())
        });
        Ok(Self {
            image: folder.join(line.image),
            size,
            samples: samples.collect::<Result<_, Cause>>()?,
        })
    }

    /// Returns the image's file name.
    pub fn name(&self) -> String {
        let name = self.image.file_name().unwrap_or(self.image.as_os_str());
        name.to_string_lossy().into_owned()
    }
}

impl Sample {
    fn new(line: SampleLine, size: ImageSize) -> Result<Self, Cause> {
        let kind = TaskKind::from_name(&line.task).ok_or("there is no such task")?;
        let region = line
            .region
            .map(|[x1, y1, x2, y2]| Region::Pixels(BoundingBox::new(x1, y1, x2, y2)));
        let task = Task::new(kind, line.input.as_deref(), region)?;
        // A region outside the image is an error now, not after an hour of answers.
        task.input(size)?;
        Ok(Self {
            kind,
            task,
            truth: truth::parse(kind, line.truth).map_err(|cause| format!("truth: {cause}"))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use florence2::Detection;

    use super::*;

    fn opened(lines: &str, limit: Option<usize>, tasks: &[TaskKind]) -> Result<Dataset> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(SCENES), lines).unwrap();
        Dataset::open(folder.path(), limit, tasks)
    }

    fn line(samples: &str) -> String {
        format!(r#"{{"image": "a.png", "width": 100, "height": 50, "samples": [{samples}]}}"#)
    }

    const OD: &str =
        r#"{"task": "<OD>", "truth": {"instances": [{"label": " a  star", "bbox": [1, 2.5, 3, 4]}]}}"#;
    const CAPTION: &str =
        r#"{"task": "<CAPTION>", "input": null, "region": null, "truth": {"text": "A star."}}"#;

    #[test]
    fn scenes_are_read_and_selected() {
        let lines = format!("{}\n\n{}\n", line(&format!("{OD}, {CAPTION}")), line(OD));
        let all = opened(&lines, None, &[]).unwrap();
        assert_eq!(all.scenes.len(), 2);
        assert_eq!(all.scenes[0].name(), "a.png");
        assert_eq!(all.scenes[0].size, ImageSize::new(100, 50));
        assert_eq!(all.scenes[0].samples[1].task, Task::Caption);
        assert_eq!(all.scenes[0].samples[1].truth, Parsed::Text("A star.".into()));
        assert_eq!(
            all.scenes[0].samples[0].truth,
            Parsed::Detections(vec![Detection::new(
                BoundingBox::new(1.0, 2.5, 3.0, 4.0),
                " a  star"
            )])
        );

        let captions = opened(&lines, Some(1), &[TaskKind::Caption]).unwrap();
        assert_eq!((captions.scenes.len(), captions.scenes[0].samples.len()), (1, 1));
        assert_ne!(captions.sha256, all.sha256);
        let error = opened(&lines, Some(1), &[TaskKind::Ocr]).unwrap_err();
        assert!(error.to_string().contains("no sample"), "{error}");
    }

    #[test]
    fn bad_lines_are_named_with_their_number() {
        let sample = |task: &str, rest: &str| line(&format!(r#"{{"task": "{task}", {rest}}}"#));
        let boxes = |bbox: &str| {
            sample(
                "<OD>",
                &format!(r#""truth": {{"instances": [{{"label": "a", "bbox": {bbox}}}]}}"#),
            )
        };
        let masks = |polygons: &str| {
            let truth = format!(r#""truth": {{"instances": [{{"polygons": {polygons}}}]}}"#);
            sample(
                "<REGION_TO_SEGMENTATION>",
                &format!(r#""region": [0, 0, 10, 10], {truth}"#),
            )
        };
        for (bad, reason) in [
            ("{".to_owned(), "EOF"),
            (r#"{"image": "a.png"}"#.to_owned(), "missing field `width`"),
            (
                line(r#"{"task": "<OD>", "trutth": {}}"#),
                "unknown field `trutth`",
            ),
            (sample("<DocVQA>", r#""truth": {}"#), "no such task"),
            (
                sample("<OD>", r#""truth": {"text": "star"}"#),
                "sample 1 (<OD>): truth: unknown field `text`",
            ),
            (
                sample("<OD>", r#""truth": {"instances": [{"bbox": [1, 2, 3, 4]}]}"#),
                "missing field `label`",
            ),
            (
                sample("<OD>", r#""input": "a star", "truth": {"instances": []}"#),
                "takes no text",
            ),
            (
                sample("<REGION_TO_OCR>", r#""truth": {"text": "A"}"#),
                "needs a region",
            ),
            (
                sample(
                    "<REGION_TO_OCR>",
                    r#""region": [0, 0, 101, 50], "truth": {"text": "A"}"#,
                ),
                "outside the image",
            ),
            (boxes("[5, 2, 3, 4]"), "box 5,2,3,4 is empty or reversed"),
            (boxes("[1, 2, 1e300, 4]"), "not finite"),
            (boxes("[1, 2, 3]"), "invalid length 3"),
            (masks("[[1, 2, 3, 4, 5]]"), "even number of coordinates"),
            (masks("[[1, 2, 3, 4]]"), "three corners"),
            (masks("[]"), "has no polygon"),
        ] {
            let error = opened(&format!("{}\n{bad}\n", line(OD)), None, &[]).unwrap_err();
            let message = error.to_string();
            assert!(message.contains("line 2"), "{message}");
            assert!(message.contains(reason), "{bad}: {message}");
        }
    }

    #[test]
    fn a_folder_without_scenes_is_no_data_set() {
        let folder = tempfile::tempdir().unwrap();
        let error = Dataset::open(folder.path(), None, &[]).unwrap_err();
        assert!(error.to_string().contains("scenes.jsonl"), "{error}");
    }
}
