//! The rounds: each configuration is loaded alone in its own process, then all of them take turns.

use florence2::{CancelToken, hub};

use super::environment::device_memory;
use super::plan::Planned;
use super::process::WorkerProcess;
use super::record::{Entry, Outcome, Settings};
use crate::args::ModelArg;
use crate::console::{Console, Progress};
use crate::engine;
use crate::error::{Result, describe};

/// A benchmark of configurations.
pub struct Bench<'a> {
    pub settings: &'a Settings,
    /// Whether the device memory of workers is read.
    pub has_gpu: bool,
    pub cancel: CancelToken,
    pub console: &'a Console,
}

/// A configuration that is being measured, or has an outcome.
struct Runner<'a> {
    planned: &'a Planned,
    /// `None` if it could not be started.
    worker: Option<WorkerProcess>,
    outcome: Option<Outcome>,
}

impl Bench<'_> {
    /// Measures all configurations, at most `at_once` in memory at a time. A failure of one configuration does not
    /// affect the others.
    ///
    /// # Errors
    /// If the user cancels the work.
    pub fn measure(&self, plan: &[Planned]) -> Result<Vec<Entry>> {
        let rounds = self.settings.warmup + self.settings.repeat;
        let progress = self.console.bar(plan.len() * (rounds + 1));
        let at_once = self.settings.at_once.unwrap_or(plan.len()).max(1);
        let indexed: Vec<(usize, &Planned)> = plan.iter().enumerate().collect();
        let mut entries = Vec::new();
        for group in indexed.chunks(at_once) {
            let mut runners = Vec::new();
            for &(index, planned) in group {
                progress.message(format!("{}: loading", planned.configuration));
                runners.push(self.start(index, planned)?);
                progress.step();
            }
            for round in 0..rounds {
                self.run_round(round, &mut runners, &progress)?;
            }
            entries.extend(self.finish(runners));
        }
        Ok(entries)
    }

    /// Loads a model in a new process and waits for its first answer.
    fn start<'p>(&self, index: usize, planned: &'p Planned) -> Result<Runner<'p>> {
        let mut runner = Runner {
            planned,
            worker: None,
            outcome: None,
        };
        match self.start_worker(index, planned) {
            Ok(worker) => {
                runner.worker = Some(worker);
                self.wait(&mut runner)?;
            }
            Err(error) if error.is_cancelled() => return Err(error),
            Err(error) => self.settle(&mut runner, Outcome::Error(describe(&error))),
        }
        Ok(runner)
    }

    fn start_worker(&self, index: usize, planned: &Planned) -> Result<WorkerProcess> {
        // Fetching is not part of loading.
        if let ModelArg::Hub(id) = &planned.model {
            hub::prepare(id, &engine::load_options(&planned.globals, self.console))?;
        }
        WorkerProcess::start(index, &planned.configuration.to_string(), self.console)
    }

    /// Runs one batch in each worker that has no outcome yet. The order rotates with the rounds.
    fn run_round(&self, round: usize, runners: &mut [Runner], progress: &Progress) -> Result<()> {
        let (last, first) = runners.split_at_mut(round % runners.len().max(1));
        for runner in first.iter_mut().chain(last) {
            if runner.outcome.is_none() {
                progress.message(runner.planned.configuration.to_string());
                runner.worker.iter_mut().for_each(WorkerProcess::start_round);
                self.wait(runner)?;
            }
            progress.step();
        }
        Ok(())
    }

    /// Waits until a worker has run a batch.
    fn wait(&self, runner: &mut Runner) -> Result<()> {
        if let Some(worker) = &mut runner.worker
            && let Some(outcome) = worker.reply(&self.cancel)?
        {
            self.settle(runner, outcome);
        }
        Ok(())
    }

    /// Sets an outcome, and reports it if it is a failure.
    fn settle(&self, runner: &mut Runner, outcome: Outcome) {
        if let Outcome::Error(reason) = &outcome {
            let configuration = &runner.planned.configuration;
            self.console.failure(&format!("{configuration}: {reason}"));
        }
        runner.outcome = Some(outcome);
    }

    /// Adds the memory that each process has on GPUs, and ends the processes.
    fn finish(&self, runners: Vec<Runner>) -> Vec<Entry> {
        let memory = self.has_gpu.then(device_memory).unwrap_or_default();
        let entries = runners.into_iter().map(|runner| {
            let mut outcome = runner
                .outcome
                .unwrap_or_else(|| Outcome::Error("no reply".into()));
            if let (Outcome::Measured(measurement), Some(worker)) = (&mut outcome, &runner.worker) {
                measurement.device_memory = memory.get(&worker.id()).copied();
                measurement.summarize();
            }
            Entry {
                configuration: runner.planned.configuration.clone(),
                outcome,
            }
        });
        entries.collect()
    }
}
