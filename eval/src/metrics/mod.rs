//! What is measured, and how it is averaged.
//!
//! Every metric is a quotient of two sums over all samples of a task ([`Ratio`]): a micro-average. What each sample
//! adds to them is in [`score()`].

mod score;

use std::collections::BTreeMap;
use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

pub use score::score;

/// A metric; all are from 0 to 1, the character error rate excepted, which may be more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// F1 at an IoU of 0.5: `2 TP / (answered + true instances)`, over the instances of all samples. An instance is a
    /// true positive if it is [matched](florence2_metrics::pairs): same label, IoU of 0.5 or more, each truth once.
    F1,
    /// The mean IoU of the matched instances of all samples.
    MeanIou,
    /// The mean over the samples of the IoU of the answered and the true mask (mIoU of the referring segmentation
    /// literature: Yu et al., "Modeling Context in Referring Expressions", 2016, have it for boxes).
    MaskIou,
    /// The share of samples whose text is the true one: accuracy, where the texts are categories.
    Exact,
    /// Levenshtein distance / length of the truth, in Unicode scalar values, over all samples together.
    CharacterErrorRate,
    /// The share of answers that the length limit cut off.
    Truncated,
}

impl Metric {
    /// All of them, in the order of the table.
    pub const ALL: [Metric; 6] = [
        Metric::F1,
        Metric::MeanIou,
        Metric::MaskIou,
        Metric::Exact,
        Metric::CharacterErrorRate,
        Metric::Truncated,
    ];

    /// The head of its column.
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

    /// Whether less is better.
    pub const fn is_error(self) -> bool {
        matches!(self, Metric::CharacterErrorRate | Metric::Truncated)
    }
}

/// A quotient of two sums.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Ratio {
    /// What was got.
    pub numerator: f64,
    /// Out of what.
    pub denominator: f64,
}

impl Ratio {
    /// `numerator / denominator`.
    pub const fn new(numerator: f64, denominator: f64) -> Self {
        Self {
            numerator,
            denominator,
        }
    }

    /// One of one, or none of one.
    pub fn of_one(got: bool) -> Self {
        Self::new(f64::from(u8::from(got)), 1.0)
    }

    /// The quotient; `None` where there was nothing to get.
    pub fn value(self) -> Option<f64> {
        (self.denominator > 0.0).then(|| self.numerator / self.denominator)
    }
}

impl AddAssign for Ratio {
    fn add_assign(&mut self, other: Self) {
        self.numerator += other.numerator;
        self.denominator += other.denominator;
    }
}

/// The metrics of many samples of one task.
#[derive(Debug, Default)]
pub struct Tally(BTreeMap<Metric, Ratio>);

impl Tally {
    /// The metrics that have a value.
    pub fn values(&self) -> BTreeMap<Metric, f64> {
        let values = self.0.iter();
        values
            .filter_map(|(&metric, ratio)| Some((metric, ratio.value()?)))
            .collect()
    }
}

impl Extend<(Metric, Ratio)> for Tally {
    fn extend<I: IntoIterator<Item = (Metric, Ratio)>>(&mut self, ratios: I) {
        for (metric, ratio) in ratios {
            *self.0.entry(metric).or_default() += ratio;
        }
    }
}
