//! A run beside an earlier one: what changed beyond noise.

use std::path::Path;

use serde::Serialize;

use super::figures::{FIGURES, Figure};
use super::plan::Configuration;
use super::record::{Entry, Measurement, Run, Settings};
use super::statistics::{Summary, differ};

/// Smaller changes are not marked, however sure they are.
const LEAST_CHANGE: f64 = 0.02;

/// All that there is to say about two runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// The earlier run's file.
    pub baseline: String,
    /// When it was.
    pub date: String,
    /// Why the two may not be comparable.
    pub warnings: Vec<String>,
    /// Each configuration of either run, those of this run first.
    pub configurations: Vec<Compared>,
}

/// A configuration in both runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Compared {
    #[serde(flatten)]
    pub configuration: Configuration,
    pub presence: Presence,
    /// Figures that at least one of the runs has; empty unless both have the configuration.
    pub changes: Vec<Change>,
}

/// In which of the runs something was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Presence {
    Both,
    OnlyNow,
    OnlyBefore,
    Neither,
}

/// A figure in both runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// [`Figure::key`]
    pub figure: &'static str,
    /// The medians.
    pub before: Option<f64>,
    pub now: Option<f64>,
    /// By what share it grew; negative if it shrank.
    pub change: Option<f64>,
    pub verdict: Verdict,
}

/// What a change means. Less is better in all figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It shrank beyond noise.
    Better,
    /// It grew beyond noise.
    Worse,
    /// It did not change beyond noise.
    Same,
    /// There are too few values to tell.
    Unknown,
    OnlyNow,
    OnlyBefore,
}

impl Presence {
    fn of(now: bool, before: bool) -> Self {
        match (now, before) {
            (true, true) => Presence::Both,
            (true, false) => Presence::OnlyNow,
            (false, true) => Presence::OnlyBefore,
            (false, false) => Presence::Neither,
        }
    }
}

/// Why runs with these settings did not do the same work, if they did not.
pub fn incomparable(now: &Settings, before: &Settings) -> Option<String> {
    let size = |settings: &Settings| format!("{}x{}", settings.picture.width, settings.picture.height);
    let differing: Vec<String> = [
        ("task", now.task.clone(), before.task.clone()),
        ("tokens", now.tokens.to_string(), before.tokens.to_string()),
        ("picture size", size(now), size(before)),
    ]
    .into_iter()
    .filter(|(_, now, before)| now != before)
    .map(|(what, now, before)| format!("{what} {before}, and now {now}"))
    .collect();
    (!differing.is_empty()).then(|| format!("it measured other work: {}", differing.join("; ")))
}

impl Comparison {
    /// Compares a run with an earlier one.
    pub fn new(now: &Run, baseline: &Path, before: &Run) -> Self {
        let is_gone = |entry: &&Entry| now.entry(&entry.configuration).is_none();
        let others = before.configurations.iter().filter(is_gone);
        let configurations = now.configurations.iter().chain(others).map(|entry| {
            let configuration = &entry.configuration;
            let measured = [now, before].map(|run| run.entry(configuration).and_then(Entry::measurement));
            Compared::new(configuration, measured)
        });
        Self {
            baseline: baseline.display().to_string(),
            date: before.environment.date.clone(),
            warnings: warnings(now, before),
            configurations: configurations.collect(),
        }
    }
}

/// What stands in the way of a fair comparison.
fn warnings(now: &Run, before: &Run) -> Vec<String> {
    let mut warnings = Vec::new();
    let machine = &now.environment.machine;
    let differences = before.environment.machine.differences(machine);
    if !differences.is_empty() {
        warnings.push(format!(
            "the baseline is of another machine: {}",
            differences.join("; ")
        ));
    }
    let threads = |run: &Run| {
        let threads = run.settings.threads;
        threads.map_or_else(|| "one per core".to_owned(), |count| count.to_string())
    };
    if threads(now) != threads(before) {
        warnings.push(format!(
            "the baseline's threads are {}, and this run's {}",
            threads(before),
            threads(now)
        ));
    }
    warnings
}

impl Compared {
    fn new(configuration: &Configuration, measured: [Option<&Measurement>; 2]) -> Self {
        let [now, before] = measured;
        let changes = match (now, before) {
            (Some(now), Some(before)) => {
                let changes = FIGURES
                    .iter()
                    .filter_map(|figure| Change::new(figure, now, before));
                changes.collect()
            }
            _ => Vec::new(),
        };
        Self {
            configuration: configuration.clone(),
            presence: Presence::of(now.is_some(), before.is_some()),
            changes,
        }
    }

    /// How a figure changed; `None` if neither run has it.
    pub fn change(&self, figure: &Figure) -> Option<&Change> {
        self.changes.iter().find(|change| change.figure == figure.key)
    }
}

impl Change {
    fn new(figure: &Figure, now: &Measurement, before: &Measurement) -> Option<Self> {
        let values = [now, before].map(figure.values);
        let [now, before] = values.each_ref().map(|values| Summary::of(values));
        let (change, verdict) = match (&now, &before) {
            (Some(now), Some(before)) => {
                let [now_values, before_values] = &values;
                let change = (before.median > 0.0).then(|| now.median / before.median - 1.0);
                let is_sure = differ(now_values, before_values);
                let least = LEAST_CHANGE.max(now.noise).max(before.noise);
                let verdict = match (is_sure, change) {
                    (None, _) | (_, None) => Verdict::Unknown,
                    (Some(true), Some(change)) if change >= least => Verdict::Worse,
                    // A half is as far from one as two is.
                    (Some(true), Some(change)) if change <= 1.0 / (1.0 + least) - 1.0 => Verdict::Better,
                    _ => Verdict::Same,
                };
                (change, verdict)
            }
            (Some(_), None) => (None, Verdict::OnlyNow),
            (None, Some(_)) => (None, Verdict::OnlyBefore),
            (None, None) => return None,
        };
        Some(Self {
            figure: figure.key,
            before: before.map(|before| before.median),
            now: now.map(|now| now.median),
            change,
            verdict,
        })
    }

    /// For people: `-12 % faster`, `~`, `+5 %?`.
    pub fn mark(&self, words: [&str; 2]) -> String {
        let percent = || {
            self.change.map_or_else(String::new, |change| {
                format!("{:+.0} %", (change * 100.0).round() + 0.0)
            })
        };
        let [better, worse] = words;
        match self.verdict {
            Verdict::Better => format!("{} {better}", percent()),
            Verdict::Worse => format!("{} {worse}", percent()),
            Verdict::Same => "~".into(),
            Verdict::Unknown => format!("{}?", percent()),
            Verdict::OnlyNow => "only now".into(),
            Verdict::OnlyBefore => "only before".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::figures::END_TO_END;
    use super::super::record::Outcome;
    use super::super::record::tests::{entry, failed, run};
    use super::*;

    /// Ten rounds of about so many seconds.
    fn rounds(seconds: f64) -> Vec<f64> {
        (0..10)
            .map(|round| seconds * (1.0 + 0.001 * f64::from(round)))
            .collect()
    }

    fn compared(now: Vec<Entry>, before: Vec<Entry>) -> Comparison {
        Comparison::new(&run(now), Path::new("old.json"), &run(before))
    }

    /// The mark of the only configuration's time from end to end.
    fn mark(now: &[f64], before: &[f64]) -> String {
        let comparison = compared(vec![entry(1, now)], vec![entry(1, before)]);
        let change = comparison.configurations[0].change(&END_TO_END).unwrap();
        change.mark(["faster", "slower"])
    }

    #[test]
    fn what_changed_beyond_noise_is_marked() {
        assert_eq!(mark(&rounds(0.88), &rounds(1.0)), "-12 % faster");
        assert_eq!(mark(&rounds(1.08), &rounds(1.0)), "+8 % slower");
        assert_eq!(mark(&rounds(1.0), &rounds(1.0)), "~");
        // Sure, as no values overlap, but too little.
        assert_eq!(mark(&rounds(1.015), &rounds(1.0)), "~");
        // Much, but of few rounds.
        assert_eq!(mark(&[1.51, 1.51], &rounds(1.0)), "+50 %?");
        // Sure, and more than 2 %, but less than the rounds differ among themselves.
        let noisy = [1.02, 1.02, 1.02, 1.03, 1.03, 1.04, 2.0, 2.0, 2.0, 2.0];
        assert_eq!(mark(&noisy, &rounds(1.0)), "~");
    }

    #[test]
    fn figures_and_configurations_of_one_run_only_are_said_so() {
        let mut with_device = entry(1, &rounds(1.0));
        if let Outcome::Measured(measured) = &mut with_device.outcome {
            measured.device_memory = Some(1 << 20);
        }
        let comparison = compared(
            vec![
                with_device,
                entry(2, &rounds(1.0)),
                failed(4, "no memory"),
                failed(5, "no"),
            ],
            vec![
                entry(1, &rounds(1.0)),
                entry(3, &rounds(1.0)),
                entry(4, &rounds(1.0)),
            ],
        );
        let found: Vec<(usize, Presence)> = comparison
            .configurations
            .iter()
            .map(|compared| (compared.configuration.batch, compared.presence))
            .collect();
        assert_eq!(
            found,
            [
                (1, Presence::Both),
                (2, Presence::OnlyNow),
                (4, Presence::OnlyBefore),
                (5, Presence::Neither),
                (3, Presence::OnlyBefore),
            ]
        );
        let verdict = |key: &str| {
            let mut changes = comparison.configurations[0].changes.iter();
            changes.find(|change| change.figure == key).unwrap().verdict
        };
        assert_eq!(verdict("device_memory"), Verdict::OnlyNow);
        assert_eq!(verdict("vision_encoder"), Verdict::Same);
        // One value each.
        assert_eq!(verdict("load"), Verdict::Unknown);
        assert!(comparison.configurations[1].changes.is_empty());
    }

    #[test]
    fn other_machines_and_threads_are_warned_of() {
        let (now, mut before) = (run(Vec::new()), run(Vec::new()));
        assert!(warnings(&now, &before).is_empty());
        before.environment.machine.cpu = "B".into();
        before.settings.threads = Some(2);
        let warnings = warnings(&now, &before);
        assert!(warnings[0].contains("processor A instead of B"), "{warnings:?}");
        assert!(
            warnings[1].contains("are 2, and this run's one per core"),
            "{warnings:?}"
        );
    }

    #[test]
    fn other_work_cannot_be_compared() {
        let (now, mut before) = (run(Vec::new()).settings, run(Vec::new()).settings);
        assert_eq!(incomparable(&now, &before), None);
        before.tokens = 50;
        before.picture.width = 9;
        assert_eq!(
            incomparable(&now, &before).unwrap(),
            "it measured other work: tokens 50, and now 10; picture size 9x6, and now 8x6"
        );
    }
}
