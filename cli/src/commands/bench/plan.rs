//! What is measured: every combination of what was asked for.

use std::fmt;

use florence2::PerPart;
use florence2::bundle::Dtype;
use florence2::runtime::Devices;
use serde::{Deserialize, Serialize};

use crate::args::ModelArg;

/// What a model's dtype is called where none is asked for.
const ANY_DTYPE: &str = "auto";

/// What each configuration takes one of.
#[derive(Debug, Clone)]
pub struct Axes {
    pub models: Vec<ModelArg>,
    pub devices: Vec<PerPart<Devices>>,
    /// `None`: the first that is there.
    pub dtypes: Vec<Option<PerPart<Dtype>>>,
    pub num_beams: Vec<usize>,
    pub batches: Vec<usize>,
}

/// A configuration, ready to be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    pub model: ModelArg,
    pub device: PerPart<Devices>,
    pub dtype: Option<PerPart<Dtype>>,
    pub num_beams: usize,
    /// Images that are answered together.
    pub batch: usize,
}

/// A configuration by name, as it is shown, saved and found again in a saved run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configuration {
    /// As `--model` has it.
    pub model: String,
    /// As `--device` has it.
    pub device: String,
    /// As `--dtype` has it, or `auto`.
    pub dtype: String,
    /// Beams; 1 is greedy search.
    pub num_beams: usize,
    /// Images that are answered together.
    pub batch: usize,
}

impl Axes {
    /// Every combination once, in the order in which its parts were named.
    pub fn plan(&self) -> Vec<Planned> {
        let mut plan = Vec::new();
        for model in &self.models {
            for device in &self.devices {
                for dtype in &self.dtypes {
                    for &num_beams in &self.num_beams {
                        for &batch in &self.batches {
                            let planned = Planned {
                                model: model.clone(),
                                device: device.to_owned(),
                                dtype: dtype.clone(),
                                num_beams,
                                batch,
                            };
                            if !plan.contains(&planned) {
                                plan.push(planned);
                            }
                        }
                    }
                }
            }
        }
        plan
    }
}

impl Planned {
    /// The names.
    pub fn configuration(&self) -> Configuration {
        Configuration {
            model: self.model.to_string(),
            device: self.device.to_string(),
            dtype: self
                .dtype
                .as_ref()
                .map_or_else(|| ANY_DTYPE.to_owned(), PerPart::to_string),
            num_beams: self.num_beams,
            batch: self.batch,
        }
    }
}

impl fmt::Display for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            model,
            device,
            dtype,
            num_beams,
            batch,
        } = self;
        write!(
            f,
            "{model} on {device}, dtype {dtype}, beams {num_beams}, batch {batch}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_is_planned_once() {
        let axes = Axes {
            models: vec![ModelArg::Demo, ModelArg::Folder("a".into())],
            devices: vec![PerPart::default(), PerPart::default()],
            dtypes: vec![None, Some("int8,vision=fp32".parse().unwrap())],
            num_beams: vec![3],
            batches: vec![1, 8, 1],
        };
        let names: Vec<String> = axes
            .plan()
            .iter()
            .map(|planned| planned.configuration().to_string())
            .collect();
        assert_eq!(
            names,
            [
                "demo on cpu, dtype auto, beams 3, batch 1",
                "demo on cpu, dtype auto, beams 3, batch 8",
                "demo on cpu, dtype int8,vision=fp32, beams 3, batch 1",
                "demo on cpu, dtype int8,vision=fp32, beams 3, batch 8",
                "a on cpu, dtype auto, beams 3, batch 1",
                "a on cpu, dtype auto, beams 3, batch 8",
                "a on cpu, dtype int8,vision=fp32, beams 3, batch 1",
                "a on cpu, dtype int8,vision=fp32, beams 3, batch 8",
            ]
        );
    }
}
