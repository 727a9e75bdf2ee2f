//! A run beside an earlier one: ratios of medians and their ranges.

use std::path::Path;

use serde::Serialize;

use super::figures::{FIGURES, Figure, quantiles};
use super::plan::Configuration;
use super::record::{Measurement, Run, Settings};

/// The differences between a run and a baseline.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// The baseline's file.
    pub baseline: String,
    /// The baseline's date.
    pub date: String,
    /// Reasons for which the two may not be comparable.
    pub warnings: Vec<String>,
    /// The configurations that both runs measured.
    pub configurations: Vec<Compared>,
}

/// A configuration that both runs measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Compared {
    #[serde(flatten)]
    pub configuration: Configuration,
    /// The figures that both runs have.
    pub changes: Vec<Change>,
}

/// A figure that both runs have.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// [`Figure::key`]
    pub figure: &'static str,
    /// The baseline's median.
    pub before: f64,
    /// This run's median.
    pub now: f64,
    /// `now / before`.
    pub ratio: f64,
    /// The ratio of this run's lower quartile to the baseline's upper one, and of its upper to the baseline's lower one.
    pub range: [f64; 2],
}

/// Returns how the work of two runs differs, if it does.
pub fn incomparable(now: &Settings, before: &Settings) -> Option<String> {
    let size = |settings: &Settings| format!("{}x{}", settings.image.width, settings.image.height);
    let differing: Vec<String> = [
        ("task", now.task.clone(), before.task.clone()),
        ("tokens", now.tokens.to_string(), before.tokens.to_string()),
        ("image size", size(now), size(before)),
    ]
    .into_iter()
    .filter(|(_, now, before)| now != before)
    .map(|(name, now, before)| format!("{name} {before} instead of {now}"))
    .collect();
    (!differing.is_empty()).then(|| format!("the baseline measured other work: {}", differing.join("; ")))
}

impl Comparison {
    /// Compares a run with an earlier one, read from the file `baseline`.
    pub fn new(now: &Run, baseline: &Path, before: &Run) -> Self {
        let mut comparison = Self {
            baseline: baseline.display().to_string(),
            date: before.environment.date.clone(),
            warnings: warnings(now, before),
            configurations: Vec::new(),
        };
        for (configuration, measured) in now.measured() {
            let Some(before) = before.measurement(configuration) else {
                let warning = format!("only this run measured {configuration}");
                comparison.warnings.push(warning);
                continue;
            };
            let changes = FIGURES
                .iter()
                .filter_map(|figure| Change::new(figure, measured, before));
            comparison.configurations.push(Compared {
                configuration: configuration.clone(),
                changes: changes.collect(),
            });
        }
        let gone = before
            .measured()
            .filter(|(configuration, _)| now.measurement(configuration).is_none());
        let gone = gone.map(|(configuration, _)| format!("only the baseline measured {configuration}"));
        comparison.warnings.extend(gone);
        comparison
    }

    /// Returns the change of a configuration's figure.
    pub fn change(&self, configuration: &Configuration, figure: &Figure) -> Option<&Change> {
        let mut configurations = self.configurations.iter();
        let compared = configurations.find(|compared| compared.configuration == *configuration)?;
        compared.changes.iter().find(|change| change.figure == figure.key)
    }
}

/// Returns how the machines and threads of two runs differ.
fn warnings(now: &Run, before: &Run) -> Vec<String> {
    let threads = |run: &Run| match run.settings.threads {
        Some(count) => format!("{count} threads"),
        None => "one thread per core".to_owned(),
    };
    [
        (
            "on another machine",
            before.environment.machine.describe(),
            now.environment.machine.describe(),
        ),
        ("with other threads", threads(before), threads(now)),
    ]
    .into_iter()
    .filter(|(_, before, now)| before != now)
    .map(|(how, before, now)| format!("the baseline was measured {how}: {before} instead of {now}"))
    .collect()
}

impl Change {
    /// Compares two measurements; `None` if one lacks the figure or the baseline's is 0.
    fn new(figure: &Figure, now: &Measurement, before: &Measurement) -> Option<Self> {
        let quartiles = |measured| quantiles(&(figure.values)(measured), [0.25, 0.5, 0.75]);
        let [now_low, now, now_high] = quartiles(now)?;
        let [before_low, before, before_high] = quartiles(before)?;
        (before_low > 0.0).then(|| Self {
            figure: figure.key,
            before,
            now,
            ratio: now / before,
            range: [now_low / before_high, now_high / before_low],
        })
    }

    /// Returns the ratio and its range, as `0.88 (0.86-0.91)`; a single value has no range.
    pub fn text(&self) -> String {
        let [low, high] = self.range;
        if low < high {
            format!("{:.2} ({low:.2}-{high:.2})", self.ratio)
        } else {
            format!("{:.2}", self.ratio)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::figures::END_TO_END;
    use super::super::record::tests::{configuration, entry, failed, run};
    use super::super::record::{Entry, Outcome};
    use super::*;

    fn compared(now: Vec<Entry>, before: Vec<Entry>) -> Comparison {
        Comparison::new(&run(now), Path::new("old.json"), &run(before))
    }

    #[test]
    fn a_change_is_a_ratio_of_medians_with_its_range() {
        let text = |now: &[f64], before: &[f64]| {
            let comparison = compared(vec![entry(1, now)], vec![entry(1, before)]);
            comparison.change(&configuration(1), &END_TO_END).unwrap().text()
        };
        assert_eq!(text(&[0.5], &[2.0]), "0.25");
        assert_eq!(text(&[3.0, 1.0, 2.0], &[5.0, 5.0, 5.0]), "0.40 (0.30-0.50)");
        assert_eq!(text(&[1.0, 1.0, 1.0], &[1.0, 2.0, 1.5]), "0.67 (0.57-0.80)");
    }

    #[test]
    fn configurations_and_figures_of_one_run_only_are_not_compared() {
        let mut with_device = entry(1, &[1.0]);
        if let Outcome::Measured(measured) = &mut with_device.outcome {
            measured.device_memory = Some(1 << 20);
        }
        let comparison = compared(
            vec![
                with_device,
                entry(2, &[1.0]),
                failed(4, "no memory"),
                failed(5, "no"),
            ],
            vec![entry(1, &[1.0]), entry(3, &[1.0]), entry(4, &[1.0])],
        );
        let [compared] = comparison.configurations.as_slice() else {
            panic!("{comparison:?}")
        };
        assert_eq!(compared.configuration.batch, 1);
        let figures: Vec<&str> = compared.changes.iter().map(|change| change.figure).collect();
        assert!(
            figures.contains(&"load") && !figures.contains(&"device_memory"),
            "{figures:?}"
        );
        let expected = [(2, "this run"), (3, "the baseline"), (4, "the baseline")];
        assert_eq!(comparison.warnings.len(), expected.len());
        for (warning, (batch, which)) in comparison.warnings.iter().zip(expected) {
            assert!(warning.starts_with(&format!("only {which} ")), "{warning}");
            assert!(warning.ends_with(&format!("batch {batch}")), "{warning}");
        }
    }

    #[test]
    fn other_machines_and_threads_are_warned_of() {
        let (now, mut before) = (run(Vec::new()), run(Vec::new()));
        assert!(warnings(&now, &before).is_empty());
        before.environment.machine.cpu = "B".into();
        before.settings.threads = Some(2);
        let warnings = warnings(&now, &before);
        assert!(
            warnings[0].contains("on another machine: B, 2 cores"),
            "{warnings:?}"
        );
        assert!(
            warnings[1].ends_with("2 threads instead of one thread per core"),
            "{warnings:?}"
        );
    }

    #[test]
    fn other_work_cannot_be_compared() {
        let (now, mut before) = (run(Vec::new()).settings, run(Vec::new()).settings);
        assert_eq!(incomparable(&now, &before), None);
        before.tokens = 50;
        before.image.width = 9;
        assert_eq!(
            incomparable(&now, &before).unwrap(),
            "the baseline measured other work: tokens 50 instead of 10; image size 9x6 instead of 8x6"
        );
    }
}
