//! Figures of samples, and whether two lots of them differ.

use serde::{Deserialize, Serialize};

/// How sure a difference must be: the chance of finding one where there is none. It is small because each run of a
/// benchmark asks this of dozens of figures.
const LEVEL: f64 = 0.001;
/// The standard normal distribution's quantile for [`LEVEL`], half of it on each side.
const NORMAL_QUANTILE: f64 = 3.2905;
/// The most samples of both lots for which all ways to share them out are counted; beyond, the normal distribution
/// is as good.
const MOST_COUNTED: usize = 60;

/// What many samples come to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    pub median: f64,
    pub p95: f64,
    /// Half the distance of the quartiles, as a share of the median.
    pub noise: f64,
}

impl Summary {
    /// Of at least one sample.
    pub fn of(samples: &[f64]) -> Option<Self> {
        let mut sorted = samples.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        let median = quantile(&sorted, 0.5)?;
        let spread = quantile(&sorted, 0.75)? - quantile(&sorted, 0.25)?;
        Some(Self {
            median,
            p95: quantile(&sorted, 0.95)?,
            noise: if median > 0.0 { spread / 2.0 / median } else { 0.0 },
        })
    }
}

/// The value below which a share of the sorted values lies, interpolated between the two that are nearest.
fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let position = share * sorted.len().checked_sub(1)? as f64;
    let below = *sorted.get(position.floor() as usize)?;
    let above = *sorted.get(position.ceil() as usize)?;
    Some(below + (above - below) * position.fract())
}

/// Whether two lots of samples come from different distributions, by the two-sided rank test of Mann, Whitney and
/// Wilcoxon; `None` if they are too few to tell, however far apart.
pub fn differ(one: &[f64], other: &[f64]) -> Option<bool> {
    if 2.0 / ways(one.len(), one.len() + other.len()) > LEVEL {
        return None;
    }
    let ranks = doubled_ranks(one, other);
    let sum: usize = ranks.iter().take(one.len()).sum();
    Some(match ranks.len() <= MOST_COUNTED {
        true => counted_probability(&ranks, one.len(), sum) <= LEVEL,
        false => normal_deviation(&ranks, one.len(), sum).abs() >= NORMAL_QUANTILE,
    })
}

/// How many ways there are to choose `chosen` of `all`.
fn ways(chosen: usize, all: usize) -> f64 {
    (0..chosen.min(all)).fold(1.0, |ways, index| {
        ways * (all - index) as f64 / (index + 1) as f64
    })
}

/// Twice the rank of each sample among both lots, the first lot's first. Equal samples share the mean of their ranks,
/// which is why they are doubled: so they are whole.
fn doubled_ranks(one: &[f64], other: &[f64]) -> Vec<usize> {
    let all = || one.iter().chain(other);
    all()
        .map(|sample| {
            let below = all().filter(|value| *value < sample).count();
            let equal = all().filter(|value| *value == sample).count();
            2 * below + equal + 1
        })
        .collect()
}

/// How probable it is that a lot of `size` chosen at random has a sum of ranks as far from the mean as `sum`. All
/// choices are counted by their size and sum.
fn counted_probability(ranks: &[usize], size: usize, sum: usize) -> f64 {
    let total: usize = ranks.iter().sum();
    let mut choices = vec![vec![0.0; total + 1]; size + 1];
    if let Some(none) = choices.first_mut().and_then(|sums| sums.first_mut()) {
        *none = 1.0;
    }
    for &rank in ranks {
        for chosen in (1..=size).rev() {
            let (fewer, more) = choices.split_at_mut(chosen);
            if let (Some(from), Some(to)) = (fewer.last(), more.first_mut()) {
                for (count, with_rank) in from.iter().zip(to.iter_mut().skip(rank)) {
                    *with_rank += count;
                }
            }
        }
    }
    // Both in units of 1 / (number of ranks).
    let mean = size * total;
    let distance = |sum: usize| (sum * ranks.len()).abs_diff(mean);
    let by_sum = choices.last().map_or(&[][..], Vec::as_slice);
    let as_far = by_sum
        .iter()
        .enumerate()
        .filter(|&(other, _)| distance(other) >= distance(sum));
    as_far.map(|(_, count)| count).sum::<f64>() / by_sum.iter().sum::<f64>()
}

/// The sum's distance from its mean in standard deviations, those of sums of so many of these ranks drawn without
/// replacement, which accounts for ties. Half a rank is taken off, as sums go in steps.
fn normal_deviation(ranks: &[usize], size: usize, sum: usize) -> f64 {
    let (count, size) = (ranks.len() as f64, size as f64);
    let mean = ranks.iter().sum::<usize>() as f64 / count;
    let variance = ranks
        .iter()
        .map(|&rank| (rank as f64 - mean).powi(2))
        .sum::<f64>()
        / count;
    let deviation = (variance * size * (count - size) / (count - 1.0)).sqrt();
    let distance = (sum as f64 - size * mean).abs() - 1.0;
    match deviation > 0.0 {
        true => distance.max(0.0) / deviation,
        false => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lot(from: u32, count: u32) -> Vec<f64> {
        (from..from + count).map(f64::from).collect()
    }

    #[test]
    fn quantiles_are_interpolated() {
        let summary = Summary::of(&[40.0, 10.0, 30.0, 20.0]).unwrap();
        // Positions 1.5, 2.85, 2.25 and 0.75 of 10, 20, 30, 40.
        assert_eq!(summary.median, 25.0);
        assert!((summary.p95 - 38.5).abs() < 1e-9);
        assert!((summary.noise - (32.5 - 17.5) / 2.0 / 25.0).abs() < 1e-9);
        let single = Summary::of(&[3.0]).unwrap();
        assert_eq!((single.median, single.p95, single.noise), (3.0, 3.0, 0.0));
        assert_eq!(Summary::of(&[]), None);
    }

    #[test]
    fn equal_samples_share_their_ranks() {
        // Ranks 1, 3 (the mean of 2, 3 and 4) three times, and 5.
        assert_eq!(doubled_ranks(&[2.0, 7.0, 2.0], &[1.0, 2.0]), [6, 10, 6, 2, 6]);
    }

    #[test]
    fn probabilities_are_counted() {
        // Of the 20 ways to choose 3 of 6, one has the least sum and one the greatest.
        let apart = doubled_ranks(&lot(0, 3), &lot(3, 3));
        assert!((counted_probability(&apart, 3, 2 * 6) - 0.1).abs() < 1e-12);
        // The sums 6, 7, 14 and 15 are one choice each: 4 of 20 are as far from 10.5 as 7 is.
        assert!((counted_probability(&apart, 3, 2 * 7) - 0.2).abs() < 1e-12);
        // With ties: of 1 1 2 2, whose ranks are 1.5 and 3.5, one of 6 pairs is 1 1 and one is 2 2.
        let tied = doubled_ranks(&[1.0, 1.0], &[2.0, 2.0]);
        assert!((counted_probability(&tied, 2, tied[0] + tied[1]) - 1.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn seven_samples_apart_are_the_least_that_differ() {
        // 2 of 924 choices are as far apart: 0.0022; 2 of 3432: 0.0006.
        assert_eq!(differ(&lot(0, 6), &lot(10, 6)), None);
        assert_eq!(differ(&lot(0, 7), &lot(10, 7)), Some(true));
        assert_eq!(differ(&lot(10, 7), &lot(0, 7)), Some(true));
        assert_eq!(differ(&lot(0, 7), &lot(0, 7)), Some(false));
        assert_eq!(differ(&[1.0; 7], &[1.0; 7]), Some(false));
        assert_eq!(differ(&[], &lot(0, 50)), None);
    }

    #[test]
    fn many_samples_go_by_the_normal_distribution() {
        assert_eq!(differ(&lot(0, 50), &lot(25, 50)), Some(true));
        assert_eq!(differ(&lot(0, 50), &lot(5, 50)), Some(false));
        assert_eq!(differ(&[1.0; 50], &[1.0; 50]), Some(false));
        // Where both apply, they agree: ranks 1 to 60, the first 30 of them a little too small.
        let (one, other) = (lot(0, 30), lot(9, 30));
        let ranks = doubled_ranks(&one, &other);
        let sum = ranks.iter().take(30).sum();
        let counted = counted_probability(&ranks, 30, sum);
        let deviation = normal_deviation(&ranks, 30, sum);
        // The normal distribution's two-sided probabilities of 3.29 and 4.06 deviations are 0.001 and 0.00005.
        assert!((1e-5..2e-3).contains(&counted), "{counted}");
        assert!((3.0..4.5).contains(&deviation), "{deviation}");
    }
}
