//! The comparison of a result with a baseline on the same scenes.

use serde::Serialize;

use super::evaluation::Unread;
use super::metric::Metric;
use super::report::Report;

/// The differences between a result and a baseline.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// The baseline's model.
    pub model: String,
    /// Percentage points by which a metric may be worse.
    pub tolerance: f64,
    /// The metrics of the tasks that both results have.
    pub changes: Vec<Change>,
}

/// A metric in both results.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// The task's tag.
    pub task: String,
    pub metric: Metric,
    /// The value in the baseline; `None` if only the new result has one.
    pub before: Option<f64>,
    /// The value in the new result; `None` if only the baseline has one.
    pub after: Option<f64>,
    /// Whether the metric got worse by more than the tolerance.
    pub worse: bool,
}

impl Comparison {
    /// Compares a result with a baseline.
    ///
    /// # Errors
    /// The reason why they cannot be compared, if they were measured on different scenes or have no task in common.
    pub fn new(report: &Report, baseline: &Report, tolerance: f64) -> Result<Self, String> {
        if report.dataset.sha256 != baseline.dataset.sha256 {
            return Err(format!(
                "the baseline was measured on other scenes ({} of {})",
                baseline.dataset.scenes, baseline.dataset.path
            ));
        }
        let (before, now) = (&baseline.dataset.unread, &report.dataset.unread);
        let image = |scene: &Unread| scene.image.clone();
        if !before.iter().map(image).eq(now.iter().map(image)) {
            return Err(format!(
                "{} images could not be read for the baseline, {} for this result",
                before.len(),
                now.len()
            ));
        }
        let mut changes = Vec::new();
        for task in &report.tasks {
            let mut earlier = baseline.tasks.iter();
            let Some(baseline) = earlier.find(|earlier| earlier.task == task.task) else {
                continue;
            };
            for metric in Metric::ALL {
                let before = baseline.metrics.get(&metric).copied();
                let after = task.metrics.get(&metric).copied();
                if before.or(after).is_some() {
                    changes.push(Change {
                        task: task.task.clone(),
                        metric,
                        before,
                        after,
                        worse: loss(metric, before, after) * 100.0 > tolerance,
                    });
                }
            }
        }
        if changes.is_empty() {
            return Err("the baseline has none of these tasks".into());
        }
        Ok(Self {
            model: baseline.model.clone(),
            tolerance,
            changes,
        })
    }

    /// Returns the metrics that got worse by more than the tolerance.
    pub fn worse(&self) -> impl Iterator<Item = &Change> {
        self.changes.iter().filter(|change| change.worse)
    }

    /// Returns the change of a task's metric.
    pub fn change(&self, task: &str, metric: Metric) -> Option<&Change> {
        self.changes
            .iter()
            .find(|change| change.task == task && change.metric == metric)
    }
}

impl Change {
    /// Returns the change of the value in percentage points; `None` if only one result has a value.
    pub fn points(&self) -> Option<f64> {
        Some((self.after? - self.before?) * 100.0)
    }
}

/// Returns the loss of a metric; negative if it got better. A missing value (a mean IoU without any match) counts as
/// the worst one.
fn loss(metric: Metric, before: Option<f64>, after: Option<f64>) -> f64 {
    let worst = if metric.is_error() { 1.0 } else { 0.0 };
    let gain = after.unwrap_or(worst) - before.unwrap_or(worst);
    if metric.is_error() { gain } else { -gain }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::eval::report::{DatasetReport, TaskReport};

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
    fn a_missing_metric_is_worse() {
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
        assert!(error.contains("10 of scenes"), "{error}");

        let mut other = one.clone();
        other.dataset.unread.push(Unread {
            image: "a.png".into(),
            reason: "no such file".into(),
        });
        let error = Comparison::new(&one, &other, 0.0).unwrap_err();
        assert!(error.contains("1 images"), "{error}");
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
