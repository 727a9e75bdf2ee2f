//! The golden fixtures that `tests/reference/make_golden.py` makes with transformers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use florence2::{BoundingBox, Florence2, LoadOptions, LocationBox, Region, Task, TaskInput, TaskKind};
use florence2_export::{Checkpoint, ExportOptions, GraphFile, Target, export};
use safetensors::SafeTensors;
use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;

use super::{fixture, runtime};

/// `answers.json`.
#[derive(Deserialize)]
pub struct Answers {
    pub images: Vec<ImageAnswers>,
}

/// The prompts of one image.
#[derive(Deserialize)]
pub struct ImageAnswers {
    image: String,
    pub size: [u32; 2],
    pub prompts: Vec<PromptAnswers>,
}

/// One prompt, and transformers' answers to it.
#[derive(Deserialize)]
pub struct PromptAnswers {
    task: Option<String>,
    input: String,
    region: Option<[f32; 4]>,
    pub input_ids: Vec<u32>,
    /// `None` if two candidates are too close for f32.
    pub greedy: Option<Answer>,
    /// `None` as above.
    pub beams: Option<Answer>,
}

/// One answer.
#[derive(Deserialize)]
pub struct Answer {
    /// Whole decoder sequences, the start token included.
    pub sequences: Vec<Vec<u32>>,
    /// Only of beam search.
    #[serde(default)]
    pub sequences_scores: Vec<f32>,
    pub transition_scores: Vec<Vec<f32>>,
    /// The text of the first sequence with special tokens.
    pub raw: String,
    /// transformers' `post_process_generation`, without the task's key.
    pub result: Value,
}

/// `golden/base-like/settings.json`.
#[derive(Deserialize)]
pub struct Settings {
    image: String,
    pub groups: Vec<SettingsGroup>,
}

/// One question under several settings.
#[derive(Deserialize)]
pub struct SettingsGroup {
    pub name: String,
    task: String,
    input: String,
    pub cases: Vec<SettingsCase>,
}

/// One question under one setting.
#[derive(Deserialize)]
pub struct SettingsCase {
    /// Keyword arguments of transformers' `generate`.
    pub settings: Value,
    pub sequences: Vec<Vec<u32>>,
    #[serde(default)]
    pub sequences_scores: Vec<f32>,
}

impl Settings {
    pub fn read() -> Self {
        read_json(&fixture("golden/base-like/settings.json"))
    }

    pub fn image(&self) -> PathBuf {
        repository(&self.image)
    }
}

impl SettingsGroup {
    pub fn task(&self) -> Task {
        let kind = TaskKind::from_name(&self.task).expect("a tag");
        let bins: Vec<u32> = self
            .input
            .split(|c: char| !c.is_ascii_digit())
            .filter_map(|bin| bin.parse().ok())
            .collect();
        let region = <[u32; 4]>::try_from(bins)
            .ok()
            .map(|bins| Region::Locations(LocationBox { bins }));
        Task::new(kind, None, region).expect("a task")
    }
}

impl SettingsCase {
    /// Writes these settings to a model's `generation_config.json`; null settings are omitted everywhere.
    pub fn write_generation_config(&self, folder: &Path) {
        let path = folder.join("config.json");
        let mut config: Value = read_json(&path);
        let text_config = config["text_config"].as_object_mut().expect("text_config");
        text_config.retain(|key, _| !key.starts_with("forced_"));
        std::fs::write(path, config.to_string()).expect("config.json");
        std::fs::write(folder.join("generation_config.json"), self.settings.to_string())
            .expect("generation_config.json");
    }
}

/// A tensor's values, every `stride`-th in row-major order.
pub struct Sampled {
    pub shape: Vec<usize>,
    pub stride: usize,
    pub values: Vec<f32>,
}

impl Answers {
    pub fn read(checkpoint: &str) -> Self {
        read_json(&fixture(&format!("golden/{checkpoint}/answers.json")))
    }
}

impl ImageAnswers {
    pub fn path(&self) -> PathBuf {
        repository(&self.image)
    }

    /// Returns the image's name in the other fixtures.
    pub fn stem(&self) -> String {
        self.path()
            .file_stem()
            .expect("a file name")
            .to_string_lossy()
            .into_owned()
    }
}

impl PromptAnswers {
    pub fn task(&self) -> Task {
        let Some(tag) = &self.task else {
            return Task::Prompt(self.input.clone());
        };
        let kind = TaskKind::from_name(tag).expect(tag);
        let text = (kind.spec().input == TaskInput::Text).then_some(self.input.as_str());
        let region = self
            .region
            .map(|[x1, y1, x2, y2]| Region::Pixels(BoundingBox::new(x1, y1, x2, y2)));
        Task::new(kind, text, region).expect(tag)
    }

    /// Returns the tag without brackets in lower case, as in the names of the stages.
    pub fn stage(&self) -> Option<String> {
        self.task
            .as_ref()
            .map(|tag| tag.trim_matches(['<', '>']).to_lowercase())
    }
}

/// The stages' tensors by name: `IMAGE.pixel_values`, `IMAGE.TASK.logits`, ...
pub fn stages(checkpoint: &str) -> BTreeMap<String, Sampled> {
    #[derive(Deserialize)]
    struct Index {
        shape: Vec<usize>,
        stride: usize,
    }
    #[derive(Deserialize)]
    struct Stages {
        tensors: BTreeMap<String, Index>,
    }
    let stages: Stages = read_json(&fixture(&format!("golden/{checkpoint}/stages.json")));
    let bytes = std::fs::read(fixture(&format!("golden/{checkpoint}/stages.safetensors"))).expect("stages");
    let tensors = SafeTensors::deserialize(&bytes).expect("stages");
    let read = |(name, Index { shape, stride }): (String, Index)| {
        let (floats, _) = tensors
            .tensor(&name)
            .expect("a sampled tensor")
            .data()
            .as_chunks::<4>();
        let values = floats.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
        (
            name,
            Sampled {
                shape,
                stride,
                values,
            },
        )
    };
    stages.tensors.into_iter().map(read).collect()
}

impl Sampled {
    /// Returns the largest difference from `values`, relative to the largest magnitude of the reference.
    pub fn relative_error<'v>(&self, values: impl ExactSizeIterator<Item = &'v f32>) -> f32 {
        assert_eq!(
            values.len(),
            self.shape.iter().product::<usize>(),
            "as many values as the reference has"
        );
        let sampled = values.step_by(self.stride).zip(&self.values);
        let worst = sampled
            .map(|(value, reference)| (value - reference).abs())
            .fold(0.0, f32::max);
        worst
            / self
                .values
                .iter()
                .fold(0.0, |greatest, value| value.abs().max(greatest))
    }
}

/// The folder of a checkpoint: one of the fixtures, or `demo`.
pub fn checkpoint(name: &str) -> PathBuf {
    match name {
        "demo" => repository("models/demo/checkpoint"),
        _ => fixture(&format!("checkpoints/{name}")),
    }
}

/// Exports these graphs of a checkpoint into a new folder.
pub fn exported(name: &str, graphs: &[GraphFile]) -> TempDir {
    exported_for(target(graphs), name, graphs)
}

/// As [`exported`], for a target.
pub fn exported_for(target: Target, name: &str, graphs: &[GraphFile]) -> TempDir {
    exported_with(
        &ExportOptions::default().with_target(target).with_graphs(graphs),
        name,
    )
}

/// As [`exported`], with these options.
pub fn exported_with(options: &ExportOptions, name: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let checkpoint = Checkpoint::open(checkpoint(name)).expect(name);
    export(&checkpoint, folder.path(), options).expect(name);
    folder
}

/// Returns the target that has these graphs.
fn target(graphs: &[GraphFile]) -> Target {
    if graphs.contains(&GraphFile::DecoderStep) {
        Target::Cpu
    } else {
        Target::Plain
    }
}

/// Loads an exported model.
pub fn load(folder: &TempDir) -> Florence2 {
    runtime();
    Florence2::from_pretrained(folder.path(), LoadOptions::default()).expect("an exported model")
}

/// A file of the repository.
fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read_json<T: for<'de> Deserialize<'de>>(path: &Path) -> T {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
