//! The figures of a configuration: one table for the report, the comparison and the saved run.

use super::protocol::Sample;
use super::record::Measurement;

/// Something measured, for which less is better.
pub struct Figure {
    /// In saved runs and CSV.
    pub key: &'static str,
    /// Over a column.
    pub title: &'static str,
    pub unit: Unit,
    /// Its values: one for each round, or for the process; none if it was not measured.
    pub values: fn(&Measurement) -> Vec<f64>,
}

/// What a figure counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Seconds; shown in milliseconds.
    Time,
    /// Bytes; shown in MiB.
    Memory,
}

impl Unit {
    /// What is shown of a value.
    pub fn shown(self, value: f64) -> f64 {
        match self {
            Unit::Time => value * 1e3,
            Unit::Memory => value / f64::from(1u32 << 20),
        }
    }

    /// What it is shown in.
    pub const fn name(self) -> &'static str {
        match self {
            Unit::Time => "ms",
            Unit::Memory => "mib",
        }
    }
}

/// All figures, in the order of the report.
pub const FIGURES: [Figure; 9] = [
    time("load", "load", |measured| vec![measured.load]),
    time("first_run", "first run", |measured| vec![measured.first_run]),
    time("preprocess", "preprocess", |measured| {
        each(measured, |sample| sample.preprocess)
    }),
    time("vision_encoder", "vision", |measured| {
        each(measured, |sample| sample.vision_encoder)
    }),
    time("text_encoder", "text", |measured| {
        each(measured, |sample| sample.text_encoder)
    }),
    time("token", "per token", |measured| {
        each(measured, |sample| sample.token)
    }),
    END_TO_END,
    memory("host_memory", "host MiB", |measured| bytes(measured.host_memory)),
    memory("device_memory", "device MiB", |measured| {
        bytes(measured.device_memory)
    }),
];

/// From decoded pictures to parsed answers.
pub const END_TO_END: Figure = time("end_to_end", "end to end", |measured| {
    each(measured, |sample| sample.end_to_end)
});

const fn time(key: &'static str, title: &'static str, values: fn(&Measurement) -> Vec<f64>) -> Figure {
    Figure {
        key,
        title,
        unit: Unit::Time,
        values,
    }
}

const fn memory(key: &'static str, title: &'static str, values: fn(&Measurement) -> Vec<f64>) -> Figure {
    Figure {
        key,
        title,
        unit: Unit::Memory,
        values,
    }
}

fn each(measured: &Measurement, value: fn(&Sample) -> f64) -> Vec<f64> {
    measured.samples.iter().map(value).collect()
}

fn bytes(memory: Option<u64>) -> Vec<f64> {
    memory.map(|bytes| bytes as f64).into_iter().collect()
}
