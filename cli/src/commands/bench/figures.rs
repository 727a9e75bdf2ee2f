//! The figures of a configuration, for the report, the comparison and the saved run.

use serde::{Deserialize, Serialize};

use super::record::{Measurement, Sample};

/// A measured quantity of which less is better.
pub struct Figure {
    /// The figure's name in saved runs and CSV.
    pub key: &'static str,
    /// Column title.
    pub title: &'static str,
    /// The suffix of keys in CSV.
    pub unit: &'static str,
    /// The factor from seconds or bytes to `unit`.
    pub scale: f64,
    /// Returns a value for each round, or one for the process; none if it was not measured.
    pub values: fn(&Measurement) -> Vec<f64>,
}

/// All figures, in the order of the columns.
pub const FIGURES: [Figure; 9] = [
    time("load", "load", |m| vec![m.load]),
    time("first_run", "first run", |m| vec![m.first_run]),
    time("preprocess", "preprocess", |m| each(m, |s| s.preprocess)),
    time("vision_encoder", "vision", |m| each(m, |s| s.vision_encoder)),
    time("text_encoder", "text", |m| each(m, |s| s.text_encoder)),
    time("token", "per token", |m| each(m, |s| s.token)),
    END_TO_END,
    memory("host_memory", "host MiB", |m| bytes(m.host_memory)),
    memory("device_memory", "device MiB", |m| bytes(m.device_memory)),
];

/// The time from decoded images to parsed answers.
pub const END_TO_END: Figure = time("end_to_end", "end to end", |m| each(m, |s| s.end_to_end));

/// Returns a figure in seconds, shown in ms.
const fn time(key: &'static str, title: &'static str, values: fn(&Measurement) -> Vec<f64>) -> Figure {
    Figure {
        key,
        title,
        unit: "ms",
        scale: 1e3,
        values,
    }
}

/// Returns a figure in bytes, shown in MiB.
const fn memory(key: &'static str, title: &'static str, values: fn(&Measurement) -> Vec<f64>) -> Figure {
    Figure {
        unit: "mib",
        scale: 1.0 / (1u32 << 20) as f64,
        ..time(key, title, values)
    }
}

fn each(measured: &Measurement, value: fn(&Sample) -> f64) -> Vec<f64> {
    measured.samples.iter().map(value).collect()
}

fn bytes(memory: Option<u64>) -> Vec<f64> {
    memory.iter().map(|&bytes| bytes as f64).collect()
}

/// The distribution of a figure's values.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    pub median: f64,
    pub p95: f64,
    /// Half the interquartile range as a share of the median.
    pub noise: f64,
}

impl Summary {
    /// Summarizes values; `None` if there are none.
    pub fn of(values: &[f64]) -> Option<Self> {
        let [low, median, high, p95] = quantiles(values, [0.25, 0.5, 0.75, 0.95])?;
        Some(Self {
            median,
            p95,
            noise: if median > 0.0 {
                (high - low) / 2.0 / median
            } else {
                0.0
            },
        })
    }
}

/// Returns the quantiles at `shares` (0 to 1), interpolated linearly; `None` if there are no values.
pub fn quantiles<const N: usize>(values: &[f64], shares: [f64; N]) -> Option<[f64; N]> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    let at = |index: f64| sorted.get(index as usize).copied().unwrap_or(f64::NAN);
    Some(shares.map(|share| {
        let position = share * last as f64;
        let (below, above) = (at(position.floor()), at(position.ceil()));
        below + (above - below) * position.fract()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_interpolate() {
        let summary = Summary::of(&[4.0, 1.0, 3.0, 2.0]).unwrap();
        assert_eq!(summary.median, 2.5);
        assert!((summary.p95 - 3.85).abs() < 1e-9, "{summary:?}");
        assert!((summary.noise - 0.3).abs() < 1e-9, "{summary:?}");
        let one = Summary::of(&[2.0]).unwrap();
        assert_eq!((one.median, one.p95, one.noise), (2.0, 2.0, 0.0));
        assert_eq!(Summary::of(&[]), None);
        assert_eq!(Summary::of(&[0.0, 0.0]).unwrap().noise, 0.0);
    }
}
