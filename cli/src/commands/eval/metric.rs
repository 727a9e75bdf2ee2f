//! The metrics and their averages.
//!
//! Each metric is the quotient of two sums over all samples of a task: a micro-average. [`score`](super::score::score)
//! adds a sample to them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::metrics::Ratio;

/// A metric. Its value lies between 0 and 1, except that a character error rate may be higher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// F1 at an IoU of 0.5: `2 TP / (answered + true instances)`, over the instances of all samples. An instance is a
    /// true positive if it is matched: same label, IoU of 0.5 or more, each truth once.
    F1,
    /// The mean IoU of the matched instances of all samples.
    MeanIou,
    /// The mean over the samples of the IoU of the answered and the true mask (mIoU of the referring segmentation
    /// literature: Yu et al., "Modeling Context in Referring Expressions", 2016, have it for boxes).
    MaskIou,
    /// The share of samples whose text equals the true text: the accuracy, where the texts are categories.
    Exact,
    /// Levenshtein distance / length of the truth, in Unicode scalar values, over all samples together.
    CharacterErrorRate,
    /// The share of answers that the length limit cut off.
    Truncated,
}

impl Metric {
    /// All metrics, in the order of the table's columns.
    pub const ALL: [Metric; 6] = [
        Metric::F1,
        Metric::MeanIou,
        Metric::MaskIou,
        Metric::Exact,
        Metric::CharacterErrorRate,
        Metric::Truncated,
    ];

    /// Returns the heading of the metric's column.
    pub const fn title(self) -> &'static str {
        match self {
            Metric::F1 => "F1@0.5",
            Metric::MeanIou => "mean IoU",
            Metric::MaskIou => "mask IoU",
            Metric::Exact => "exact",
            Metric::CharacterErrorRate => "CER",
            Metric::Truncated => "truncated",
        }
    }

    /// Returns `true` if a lower value is better.
    pub const fn is_error(self) -> bool {
        matches!(self, Metric::CharacterErrorRate | Metric::Truncated)
    }
}

/// The average of each metric of one task.
#[derive(Debug, Default)]
pub struct Tally(BTreeMap<Metric, Ratio>);

impl Tally {
    /// Returns the average of `metric`, to which samples are added.
    pub fn of(&mut self, metric: Metric) -> &mut Ratio {
        self.0.entry(metric).or_default()
    }

    /// Returns the metrics' values; a metric whose denominator is 0 has none.
    pub fn values(&self) -> BTreeMap<Metric, f64> {
        let values = self.0.iter();
        values
            .filter_map(|(&metric, ratio)| Some((metric, ratio.value()?)))
            .collect()
    }
}
