//! Labelled scenes: `scenes.jsonl` and its pictures. The format is described in this crate's README.

mod truth;

use std::fs;
use std::path::{Path, PathBuf};

use florence2::{BoundingBox, Cause, ImageSize, Region, Task, TaskKind};
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
pub use truth::Truth;

/// The file that describes the scenes.
const SCENES: &str = "scenes.jsonl";

/// Which part of a data set is used.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// The first so many scenes only; `None`: all.
    pub limit: Option<usize>,
    /// These tasks only; empty: all.
    pub tasks: Vec<TaskKind>,
}

/// A data set.
#[derive(Debug)]
pub struct Dataset {
    /// The scenes.
    pub scenes: Vec<Scene>,
    /// The SHA-256 of the scenes' lines, in hexadecimal: what a result was measured on.
    pub sha256: String,
}

/// A picture and what is asked about it.
#[derive(Debug)]
pub struct Scene {
    /// The picture's file.
    pub image: PathBuf,
    /// The picture's size, as the data set has it.
    pub size: ImageSize,
    /// The questions.
    pub samples: Vec<Sample>,
}

/// A question with its right answer.
#[derive(Debug)]
pub struct Sample {
    /// The task, without its input.
    pub kind: TaskKind,
    /// The task.
    pub task: Task,
    /// The right answer.
    pub truth: Truth,
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
    /// Reads the scenes in a folder; the pictures are not looked at.
    ///
    /// # Errors
    /// [`Error::DataSet`] if there are none, [`Error::Scene`] for the first line that is not as the format has it,
    /// [`Error::NoSamples`] if the selection leaves nothing to ask.
    pub fn open(folder: &Path, selection: &Selection) -> Result<Self> {
        let path = folder.join(SCENES);
        let text = fs::read_to_string(&path).map_err(|source| Error::DataSet {
            path: path.clone(),
            source,
        })?;
        let lines = text.lines().enumerate();
        let lines = lines.filter(|(_, line)| !line.trim().is_empty());

        let mut sha256 = Sha256::new();
        let mut scenes = Vec::new();
        for (index, line) in lines.take(selection.limit.unwrap_or(usize::MAX)) {
            sha256.update(line);
            sha256.update("\n");
            let mut scene = Scene::parse(line, folder).map_err(|source| Error::Scene {
                path: path.clone(),
                line: index + 1,
                source,
            })?;
            if !selection.tasks.is_empty() {
                scene
                    .samples
                    .retain(|sample| selection.tasks.contains(&sample.kind));
            }
            scenes.push(scene);
        }
        if scenes.iter().all(|scene| scene.samples.is_empty()) {
            return Err(Error::NoSamples { path });
        }
        Ok(Self {
            scenes,
            sha256: sha256
                .finalize()
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
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

    /// The picture's file name.
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
        // That the region lies in the picture is seen here, not after an hour of answers.
        task.input(size)?;
        Ok(Self {
            kind,
            task,
            truth: Truth::parse(kind, line.truth).map_err(|cause| format!("truth: {cause}"))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use florence2_metrics::Labelled;

    use super::*;

    fn opened(lines: &str, selection: &Selection) -> Result<Dataset> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(SCENES), lines).unwrap();
        Dataset::open(folder.path(), selection)
    }

    fn line(samples: &str) -> String {
        format!(r#"{{"image": "a.png", "width": 100, "height": 50, "samples": [{samples}]}}"#)
    }

    const OD: &str =
        r#"{"task": "<OD>", "truth": {"instances": [{"label": "star", "bbox": [1, 2.5, 3, 4]}]}}"#;
    const CAPTION: &str =
        r#"{"task": "<CAPTION>", "input": null, "region": null, "truth": {"text": "A star."}}"#;

    #[test]
    fn scenes_are_read_and_selected() {
        let lines = format!("{}\n\n{}\n", line(&format!("{OD}, {CAPTION}")), line(OD));
        let all = opened(&lines, &Selection::default()).unwrap();
        assert_eq!(all.scenes.len(), 2);
        assert_eq!(all.scenes[0].name(), "a.png");
        assert_eq!(all.scenes[0].size, ImageSize::new(100, 50));
        assert_eq!(all.scenes[0].samples[1].task, Task::Caption);
        assert_eq!(all.scenes[0].samples[1].truth, Truth::Text("A star.".into()));
        assert_eq!(
            all.scenes[0].samples[0].truth,
            Truth::Boxes(vec![Labelled {
                label: "star".into(),
                shape: BoundingBox::new(1.0, 2.5, 3.0, 4.0)
            }])
        );

        let mut selection = Selection {
            limit: Some(1),
            tasks: vec![TaskKind::Caption],
        };
        let captions = opened(&lines, &selection).unwrap();
        assert_eq!((captions.scenes.len(), captions.scenes[0].samples.len()), (1, 1));
        assert_ne!(captions.sha256, all.sha256);
        selection.tasks = vec![TaskKind::Ocr];
        let error = opened(&lines, &selection).unwrap_err();
        assert!(matches!(error, Error::NoSamples { .. }), "{error}");
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
            (masks("[[1, 2, 3, 4, 5]]"), "pairs of coordinates"),
            (masks("[[1, 2, 3, 4]]"), "three corners"),
            (masks("[]"), "without a polygon"),
        ] {
            let error = opened(&format!("{}\n{bad}\n", line(OD)), &Selection::default()).unwrap_err();
            let message = error.to_string();
            assert!(matches!(error, Error::Scene { line: 2, .. }), "{bad}: {message}");
            assert!(message.contains("line 2"), "{message}");
            assert!(message.contains(reason), "{bad}: {message}");
        }
    }

    #[test]
    fn a_folder_without_scenes_is_no_data_set() {
        let folder = tempfile::tempdir().unwrap();
        let error = Dataset::open(folder.path(), &Selection::default()).unwrap_err();
        assert!(error.to_string().contains("scenes.jsonl"), "{error}");
    }
}
