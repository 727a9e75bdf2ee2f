//! The saved form of a run.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::environment::Environment;
use super::figures::{FIGURES, Figure, Summary};
use super::plan::Configuration;
use crate::error::{Error, Result};

/// The format that this version writes and reads.
pub const SCHEMA: &str = "florence2-bench/1";
/// The prefix of all versions' formats.
const SCHEMA_FAMILY: &str = "florence2-bench/";

/// A run of the benchmark.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    pub schema: String,
    pub environment: Environment,
    pub settings: Settings,
    pub configurations: Vec<Entry>,
}

/// The work and the rounds that all configurations have in common.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// The task's name.
    pub task: String,
    #[serde(rename = "picture")]
    pub image: ImageRecord,
    /// New tokens of each answer.
    pub tokens: usize,
    /// Rounds that are not counted.
    pub warmup: usize,
    /// Rounds that are counted.
    pub repeat: usize,
    /// Intra-op threads; `None`: one per physical core.
    pub threads: Option<usize>,
    /// Configurations that take turns; `None`: all.
    pub at_once: Option<usize>,
}

/// The image of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRecord {
    pub name: String,
    pub width: u32,
    pub height: u32,
}

/// A configuration and its outcome.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    #[serde(flatten)]
    pub configuration: Configuration,
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// The outcome of a configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Measured(Measurement),
    /// The reason for its failure.
    Error(String),
}

/// The measurements of a configuration. Times are in seconds, memory is in bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// Time to load ONNX Runtime and the model.
    pub load: f64,
    /// Time of the first batch.
    pub first_run: f64,
    /// Peak memory of the process.
    pub host_memory: Option<u64>,
    /// The process's memory on GPUs after the last round.
    pub device_memory: Option<u64>,
    /// The file of each graph.
    pub graphs: BTreeMap<String, String>,
    /// The number of nodes on each execution provider, by graph.
    pub placement: Option<Placement>,
    /// The counted rounds.
    pub samples: Vec<Sample>,
    /// Summaries of the values by [`Figure::key`], for other programs that read the file.
    pub figures: BTreeMap<String, Summary>,
}

/// The number of nodes on each execution provider, by graph.
pub type Placement = BTreeMap<String, BTreeMap<String, usize>>;

/// The seconds that a batch took, in total and by stage. A stage's time is that of the whole batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// From decoded images to parsed answers.
    pub end_to_end: f64,
    pub preprocess: f64,
    pub vision_encoder: f64,
    pub text_encoder: f64,
    /// Decoder and search.
    pub generation: f64,
    pub postprocess: f64,
    /// The time of a decoding step of the batch: `generation` divided by the number of tokens of an answer.
    pub token: f64,
}

impl Measurement {
    /// Fills in `figures`.
    pub fn summarize(&mut self) {
        let summary = |figure: &Figure| Some((figure.key.to_owned(), Summary::of(&(figure.values)(self))?));
        self.figures = FIGURES.iter().filter_map(summary).collect();
    }

    /// Returns the summary of a figure; `None` if it was not measured.
    pub fn summary(&self, figure: &Figure) -> Option<Summary> {
        self.figures.get(figure.key).copied()
    }
}

impl Entry {
    /// Returns the measurements; `None` if the configuration failed.
    pub fn measurement(&self) -> Option<&Measurement> {
        match &self.outcome {
            Outcome::Measured(measurement) => Some(measurement),
            Outcome::Error(_) => None,
        }
    }

    /// Returns the reason if the configuration failed.
    pub fn failure(&self) -> Option<&str> {
        match &self.outcome {
            Outcome::Measured(_) => None,
            Outcome::Error(reason) => Some(reason),
        }
    }
}

impl Run {
    /// Reads a saved run.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be read, [`Error::Baseline`] if it is not a saved run or has another format.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).map_err(Error::io(path))?;
        Self::from_json(&bytes).map_err(|reason| Error::Baseline {
            path: path.to_owned(),
            reason,
        })
    }

    /// Returns the measurements of a configuration, if it has any.
    pub fn measurement(&self, configuration: &Configuration) -> Option<&Measurement> {
        let found = self.measured().find(|(measured, _)| *measured == configuration);
        found.map(|(_, measurement)| measurement)
    }

    /// Returns the configurations that did not fail, with their measurements.
    pub fn measured(&self) -> impl Iterator<Item = (&Configuration, &Measurement)> {
        let entries = self.configurations.iter();
        entries.filter_map(|entry| Some((&entry.configuration, entry.measurement()?)))
    }

    fn from_json(bytes: &[u8]) -> Result<Self, String> {
        let none = "it is not a saved run; make one with `florence2 bench --save FILE`";
        let value: Value = serde_json::from_slice(bytes).map_err(|error| format!("{none} ({error})"))?;
        match value.get("schema").and_then(Value::as_str) {
            Some(SCHEMA) => {
                serde_json::from_value(value).map_err(|error| format!("it is malformed: {error}"))
            }
            Some(other) if other.starts_with(SCHEMA_FAMILY) => Err(format!(
                "its schema is {other}, but this program reads {SCHEMA}; run the benchmark again"
            )),
            _ => Err(none.into()),
        }
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::commands::bench::environment::tests::machine;

    /// Returns a run with these configurations.
    pub fn run(configurations: Vec<Entry>) -> Run {
        Run {
            schema: SCHEMA.into(),
            environment: Environment {
                date: "2026-01-02T03:04:05Z".into(),
                machine: machine(),
                florence2: "0.1.0".into(),
                onnxruntime: Some("1.32".into()),
                onnxruntime_build: "build".into(),
            },
            settings: Settings {
                task: "od".into(),
                image: ImageRecord {
                    name: "a.png".into(),
                    width: 8,
                    height: 6,
                },
                tokens: 10,
                warmup: 1,
                repeat: 3,
                threads: None,
                at_once: None,
            },
            configurations,
        }
    }

    /// Returns a configuration with these times in seconds. The stages have fixed shares of them.
    pub fn entry(batch: usize, end_to_end: &[f64]) -> Entry {
        let sample = |&seconds: &f64| Sample {
            end_to_end: seconds,
            preprocess: 0.125 * seconds,
            vision_encoder: 0.5 * seconds,
            text_encoder: 0.125 * seconds,
            generation: 0.25 * seconds,
            postprocess: 0.0,
            token: 0.03125 * seconds,
        };
        let mut measurement = Measurement {
            load: 2.0,
            first_run: 1.0,
            host_memory: Some(3 << 20),
            device_memory: None,
            graphs: BTreeMap::new(),
            placement: None,
            samples: end_to_end.iter().map(sample).collect(),
            figures: BTreeMap::new(),
        };
        measurement.summarize();
        Entry {
            configuration: configuration(batch),
            outcome: Outcome::Measured(measurement),
        }
    }

    pub fn failed(batch: usize, reason: &str) -> Entry {
        Entry {
            configuration: configuration(batch),
            outcome: Outcome::Error(reason.into()),
        }
    }

    pub fn configuration(batch: usize) -> Configuration {
        Configuration {
            model: "demo".into(),
            device: "cpu".into(),
            dtype: "auto".into(),
            num_beams: 1,
            batch,
        }
    }

    #[test]
    fn a_saved_run_is_read_back() {
        let saved = run(vec![entry(1, &[0.25, 0.75]), failed(8, "no memory")]);
        let json = serde_json::to_vec(&saved).unwrap();
        assert_eq!(Run::from_json(&json).unwrap(), saved);
        let value: Value = serde_json::from_slice(&json).unwrap();
        let entries = &value["configurations"];
        assert_eq!(entries[0]["measured"]["samples"][1]["end_to_end"], 0.75);
        assert_eq!(entries[0]["measured"]["figures"]["end_to_end"]["median"], 0.5);
        assert_eq!(
            (&entries[1]["batch"], &entries[1]["error"]),
            (&8.into(), &"no memory".into())
        );
    }

    #[test]
    fn other_files_are_rejected_with_the_reason() {
        for (text, reason) in [
            ("", "not a saved run"),
            ("[1]", "not a saved run"),
            (r#"{"schema":"other/1"}"#, "not a saved run"),
            (r#"{"schema":"florence2-bench/2"}"#, "reads florence2-bench/1"),
            (r#"{"schema":"florence2-bench/1"}"#, "malformed"),
        ] {
            let error = Run::from_json(text.as_bytes()).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
