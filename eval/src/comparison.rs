//! Two results on the same scenes, side by side.

use serde::Serialize;

use crate::error::{Error, Result};
use crate::metrics::Metric;
use crate::report::Report;

/// How a result differs from a baseline.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// The baseline's model.
    pub model: String,
    /// Percentage points by which a metric may be worse.
    pub tolerance: f64,
    /// The metrics of the tasks in both results.
    pub changes: Vec<Change>,
}

/// A metric in both results.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// The task's tag.
    pub task: String,
    /// The metric.
    pub metric: Metric,
    /// Its value in the baseline; `None` where only the new result has it.
    pub before: Option<f64>,
    /// Its value now; `None` where only the baseline has it.
    pub after: Option<f64>,
    /// Whether it got worse by more than the tolerance.
    pub worse: bool,
}

impl Comparison {
    /// Compares a result with a baseline.
    ///
    /// # Errors
    /// [`Error::OtherBaseline`] if they are not of the same scenes or have no task in common.
    pub fn new(report: &Report, baseline: &Report, tolerance: f64) -> Result<Self> {
        let other = |reason: String| Error::OtherBaseline { reason };
        if report.dataset.sha256 != baseline.dataset.sha256 {
            return Err(other(format!(
                "it is of other scenes ({} of {})",
                baseline.dataset.scenes, baseline.dataset.path
            )));
        }
        let unread = |report: &Report| -> Vec<String> {
            let scenes = report.dataset.unread.iter();
            scenes.map(|scene| scene.image.clone()).collect()
        };
        let (before, now) = (unread(baseline), unread(report));
        if before != now {
            return Err(other(format!(
                "{} pictures could not be read for it, {} for this result",
                before.len(),
                now.len()
            )));
        }
        let mut changes = Vec::new();
        for (row, before) in report
            .tasks
            .iter()
            .filter_map(|row| Some((row, baseline.task(&row.task)?)))
        {
            let metrics = Metric::ALL.into_iter();
            let values =
                metrics.map(|metric| (metric, before.metrics.get(&metric), row.metrics.get(&metric)));
            changes.extend(
                values
                    .filter(|(_, before, after)| before.is_some() || after.is_some())
                    .map(|(metric, before, after)| Change {
                        task: row.task.clone(),
                        metric,
                        before: before.copied(),
                        after: after.copied(),
                        worse: loss(metric, before.copied(), after.copied()) * 100.0 > tolerance,
                    }),
            );
        }
        if changes.is_empty() {
            return Err(other("it has none of these tasks".into()));
        }
        Ok(Self {
            model: baseline.model.clone(),
            tolerance,
            changes,
        })
    }

    /// The metrics that got worse by more than the tolerance.
    pub fn worse(&self) -> impl Iterator<Item = &Change> {
        self.changes.iter().filter(|change| change.worse)
    }

    /// The change of a task's metric.
    pub fn change(&self, task: &str, metric: Metric) -> Option<&Change> {
        self.changes
            .iter()
            .find(|change| change.task == task && change.metric == metric)
    }
}

impl Change {
    /// By how many percentage points the value rose; `None` where only one result has it.
    pub fn points(&self) -> Option<f64> {
        Some((self.after? - self.before?) * 100.0)
    }
}

/// By how much a metric got worse. One that is missing (a mean IoU without any match) is as bad as can be.
fn loss(metric: Metric, before: Option<f64>, after: Option<f64>) -> f64 {
    let worst = if metric.is_error() { 1.0 } else { 0.0 };
    let gain = after.unwrap_or(worst) - before.unwrap_or(worst);
    if metric.is_error() { gain } else { -gain }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::Unread;
    use crate::report::{DatasetReport, TaskReport};

    fn report(tasks: &[(&str, &[(Metric, f64)])]) -> Report {
        let task = |&(tag, metrics): &(&str, &[(Metric, f64)])| TaskReport {
            task: tag.into(),
            answers: 10,
            metrics: metrics.iter().copied().collect(),
            seconds_per_answer: 0.1,
            tokens_per_answer: 12.0,
        };
        Report {
            version: "0".into(),
            model: "demo".into(),
            num_beams: 3,
            batch_size: 1,
            dataset: DatasetReport {
                path: "scenes".into(),
                scenes: 10,
                sha256: "ab".into(),
                unread: Vec::new(),
            },
            seconds_per_image: 0.1,
            tasks: tasks.iter().map(task).collect(),
            comparison: None,
        }
    }

    fn worse(before: &[(Metric, f64)], after: &[(Metric, f64)], tolerance: f64) -> Vec<Metric> {
        let (before, after) = (report(&[("<OCR>", before)]), report(&[("<OCR>", after)]));
        let comparison = Comparison::new(&after, &before, tolerance).unwrap();
        comparison.worse().map(|change| change.metric).collect()
    }

    #[test]
    fn worse_is_less_quality_or_more_errors() {
        use Metric::{CharacterErrorRate, Exact};
        let base = [(Exact, 0.5), (CharacterErrorRate, 0.25)];
        assert_eq!(worse(&base, &base, 0.0), []);
        assert_eq!(
            worse(&base, &[(Exact, 0.49), (CharacterErrorRate, 0.26)], 0.0),
            [Exact, CharacterErrorRate]
        );
        assert_eq!(
            worse(&base, &[(Exact, 0.51), (CharacterErrorRate, 0.24)], 0.0),
            []
        );
    }

    #[test]
    fn the_tolerance_is_in_percentage_points() {
        use Metric::Exact;
        assert_eq!(worse(&[(Exact, 0.5)], &[(Exact, 0.46875)], 3.125), []);
        assert_eq!(worse(&[(Exact, 0.5)], &[(Exact, 0.46875)], 3.0), [Exact]);
    }

    #[test]
    fn a_metric_that_is_gone_is_worse() {
        use Metric::{F1, MeanIou};
        let before = [(F1, 0.5), (MeanIou, 0.75)];
        assert_eq!(worse(&before, &[(F1, 0.5)], 0.0), [MeanIou]);
        assert_eq!(worse(&[(F1, 0.5)], &before, 0.0), []);
    }

    #[test]
    fn tasks_in_both_are_compared() {
        let all = report(&[("<OD>", &[(Metric::F1, 0.5)]), ("<OCR>", &[(Metric::Exact, 0.5)])]);
        let some = report(&[("<OCR>", &[(Metric::Exact, 0.75)])]);
        for (one, other, points) in [(&all, &some, -25.0), (&some, &all, 25.0)] {
            let comparison = Comparison::new(one, other, 30.0).unwrap();
            assert_eq!(comparison.changes.len(), 1);
            let change = comparison.change("<OCR>", Metric::Exact).unwrap();
            assert_eq!((change.points(), change.worse), (Some(points), false));
        }
        let none = report(&[("<CAPTION>", &[(Metric::Exact, 0.5)])]);
        assert!(Comparison::new(&none, &all, 0.0).is_err());
    }

    #[test]
    fn only_the_same_scenes_are_compared() {
        let one = report(&[("<OD>", &[(Metric::F1, 0.5)])]);
        let mut other = one.clone();
        other.dataset.sha256 = "cd".into();
        let error = Comparison::new(&one, &other, 0.0).unwrap_err();
        assert!(error.to_string().contains("10 of scenes"), "{error}");

        let mut other = one.clone();
        other.dataset.unread.push(Unread {
            image: "a.png".into(),
            reason: "no such file".into(),
        });
        let error = Comparison::new(&one, &other, 0.0).unwrap_err();
        assert!(error.to_string().contains("1 pictures"), "{error}");
    }

    #[test]
    fn a_report_survives_its_file() {
        let mut report = report(&[("<OD>", &[(Metric::F1, 0.1 + 0.2), (Metric::MeanIou, 2.0 / 3.0)])]);
        let json = serde_json::to_string(&report).unwrap();
        let read: Report = serde_json::from_str(&json).unwrap();
        assert_eq!(read, report);
        // A baseline may have been compared with one itself.
        report.comparison = Some(Comparison::new(&read, &read, 0.0).unwrap());
        let json = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), read);
    }
}
