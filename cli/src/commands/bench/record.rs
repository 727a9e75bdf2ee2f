//! A run of the benchmark as it is saved and read again.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::environment::Environment;
use super::figures::{FIGURES, Figure};
use super::plan::Configuration;
use super::protocol::{Loaded, Placement, Sample};
use super::statistics::Summary;
use crate::error::{Error, Result};

/// What this version writes and reads.
pub const SCHEMA: &str = "florence2-bench/1";
/// Of all versions.
const SCHEMA_FAMILY: &str = "florence2-bench/";

/// A run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    pub schema: String,
    pub environment: Environment,
    pub settings: Settings,
    pub configurations: Vec<Entry>,
}

/// What all configurations had in common.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// The task's name.
    pub task: String,
    pub picture: Picture,
    /// New tokens of each answer.
    pub tokens: usize,
    /// Rounds that were not counted.
    pub warmup: usize,
    pub repeat: usize,
    /// Threads to compute with; `None`: one per physical core.
    pub threads: Option<usize>,
    /// Configurations that took turns; `None`: all.
    pub at_once: Option<usize>,
}

/// What was answered about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Picture {
    pub name: String,
    pub width: u32,
    pub height: u32,
}

/// A configuration, and how it went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    #[serde(flatten)]
    pub configuration: Configuration,
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// How a configuration went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Measured(Measurement),
    /// Why it could not be measured.
    Error(String),
}

/// What was measured of a configuration. Times are in seconds, memory is in bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// ONNX Runtime and the model.
    pub load: f64,
    /// The first answer after it.
    pub first_run: f64,
    /// The most memory of the process.
    pub host_memory: Option<u64>,
    /// The process's memory on GPUs.
    pub device_memory: Option<u64>,
    /// The file of each graph.
    pub graphs: BTreeMap<String, String>,
    /// How many nodes run on each execution provider, by graph.
    pub placement: Option<Placement>,
    /// Each counted round.
    pub samples: Vec<Sample>,
    /// What the samples come to, by [`Figure::key`]: for readers of the file.
    pub figures: BTreeMap<String, Summary>,
}

impl Measurement {
    pub fn new(
        loaded: Loaded,
        first: Sample,
        samples: Vec<Sample>,
        host_memory: Option<u64>,
        device_memory: Option<u64>,
    ) -> Self {
        let mut measurement = Self {
            load: loaded.seconds,
            first_run: first.end_to_end,
            host_memory,
            device_memory,
            graphs: loaded.graphs,
            placement: loaded.placement,
            samples,
            figures: BTreeMap::new(),
        };
        measurement.figures = FIGURES
            .iter()
            .filter_map(|figure| Some((figure.key.to_owned(), measurement.summary(figure)?)))
            .collect();
        measurement
    }

    /// What a figure's values come to; `None` if it was not measured.
    pub fn summary(&self, figure: &Figure) -> Option<Summary> {
        Summary::of(&(figure.values)(self))
    }
}

impl Entry {
    /// What was measured, if it could be.
    pub fn measurement(&self) -> Option<&Measurement> {
        match &self.outcome {
            Outcome::Measured(measurement) => Some(measurement),
            Outcome::Error(_) => None,
        }
    }

    /// Why it could not be measured.
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
    /// [`Error::Io`] if the file cannot be read, [`Error::Baseline`] if it is no run, or one of another schema.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).map_err(Error::io(path))?;
        Self::from_json(&bytes).map_err(|reason| Error::Baseline {
            path: path.to_owned(),
            reason,
        })
    }

    /// A configuration, and how it went.
    pub fn entry(&self, configuration: &Configuration) -> Option<&Entry> {
        let mut entries = self.configurations.iter();
        entries.find(|entry| entry.configuration == *configuration)
    }

    fn from_json(bytes: &[u8]) -> Result<Self, String> {
        let none = "it is no run of this benchmark; make one with `florence2 bench --save FILE`";
        let value: Value = serde_json::from_slice(bytes).map_err(|error| format!("{none} ({error})"))?;
        match value.get("schema").and_then(Value::as_str) {
            Some(SCHEMA) => serde_json::from_value(value).map_err(|error| format!("it is damaged: {error}")),
            Some(other) if other.starts_with(SCHEMA_FAMILY) => Err(format!(
                "its schema is {other}, and this program reads {SCHEMA}; measure it again"
            )),
            _ => Err(none.into()),
        }
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::commands::bench::environment::tests::machine;

    /// A run of one machine with these configurations.
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
                picture: Picture {
                    name: "drawn".into(),
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

    /// A configuration of a batch size whose rounds took so many seconds. The shares are exact in binary, as reading JSON
    /// may change a last bit.
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
        let loaded = Loaded {
            seconds: 2.0,
            graphs: BTreeMap::new(),
            placement: None,
        };
        let samples: Vec<Sample> = end_to_end.iter().map(sample).collect();
        let first = sample(&1.0);
        Entry {
            configuration: configuration(batch),
            outcome: Outcome::Measured(Measurement::new(loaded, first, samples, Some(3 << 20), None)),
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
    fn a_saved_run_is_read_as_it_was() {
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
    fn other_files_are_refused_with_the_reason() {
        for (text, reason) in [
            ("", "no run of this benchmark"),
            ("[1]", "no run of this benchmark"),
            (r#"{"schema":"other/1"}"#, "no run of this benchmark"),
            (r#"{"schema":"florence2-bench/2"}"#, "reads florence2-bench/1"),
            (r#"{"schema":"florence2-bench/1"}"#, "damaged"),
        ] {
            let error = Run::from_json(text.as_bytes()).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
