//! The measuring: each configuration in a process of its own, first alone, then all of them in turns.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::process::Command;

use florence2::{CancelToken, hub};

use super::nvidia;
use super::plan::{Configuration, Planned};
use super::process::WorkerProcess;
use super::protocol::{Answer, Loaded, Ran, Request, Sample};
use super::record::{Entry, Measurement, Outcome, Settings};
use super::work::Work;
use super::worker;
use crate::args::{GlobalArgs, ModelArg};
use crate::console::{Console, Progress};
use crate::engine;
use crate::error::{Error, Result, describe};

/// What all configurations have in common.
pub struct Bench<'a> {
    pub work: &'a Work,
    pub settings: &'a Settings,
    /// Whether GPUs are asked how much memory the workers have there.
    pub has_gpu: bool,
    pub cancel: CancelToken,
    pub globals: &'a GlobalArgs,
    pub console: &'a Console,
}

/// A configuration on its way.
struct Runner {
    configuration: Configuration,
    /// Why it failed, if it has.
    state: Result<Running, String>,
}

/// A configuration whose model is loaded, and has answered once.
struct Running {
    process: WorkerProcess,
    loaded: Loaded,
    first: Sample,
    samples: Vec<Sample>,
    host_memory: Option<u64>,
    device_memory: Option<u64>,
}

impl Bench<'_> {
    /// Measures all that is planned, as many configurations at a time as the settings say. One's failure leaves the
    /// others alone.
    ///
    /// # Errors
    /// If the user calls the work off.
    pub fn measure(&self, plan: &[Planned]) -> Result<Vec<Entry>> {
        let rounds = self.settings.warmup + self.settings.repeat;
        let progress = self.console.bar(plan.len() * (rounds + 1));
        let at_once = self.settings.at_once.unwrap_or(plan.len()).max(1);
        let mut entries = Vec::new();
        for group in plan.chunks(at_once) {
            let mut runners = Vec::new();
            for planned in group {
                runners.push(self.start(planned, &progress)?);
            }
            self.in_turns(&mut runners, &progress)?;
            self.read_device_memory(&mut runners);
            entries.extend(runners.into_iter().map(Runner::finish));
        }
        Ok(entries)
    }

    /// Loads the model in a new process and lets it answer once, while the others wait.
    fn start(&self, planned: &Planned, progress: &Progress) -> Result<Runner> {
        let configuration = planned.configuration();
        progress.message(format!("{configuration}: loading"));
        let state = self.settle(&configuration, self.load(planned, &configuration))?;
        progress.step();
        let mut runner = Runner { configuration, state };
        self.read_device_memory(std::slice::from_mut(&mut runner));
        Ok(runner)
    }

    fn load(&self, planned: &Planned, configuration: &Configuration) -> Result<Running> {
        let globals = self.globals_of(planned);
        // Fetching is no part of loading.
        if let ModelArg::Hub(id) = &planned.model {
            hub::prepare(id, &engine::load_options(&globals, self.console))?;
        }
        let command = self.command(planned, &globals)?;
        let mut process = WorkerProcess::start(command, &configuration.to_string(), self.console)?;
        let Answer::Loaded(loaded) = process.ask(Request::Load, &self.cancel)? else {
            return Err(out_of_turn());
        };
        let Ran { sample, peak_memory } = run(&mut process, &self.cancel)?;
        Ok(Running {
            process,
            loaded,
            first: sample,
            samples: Vec::new(),
            host_memory: peak_memory,
            device_memory: None,
        })
    }

    /// Warms up, then measures: in each round every configuration once, and nobody is always the first.
    fn in_turns(&self, runners: &mut [Runner], progress: &Progress) -> Result<()> {
        let count = runners.len();
        for round in 0..self.settings.warmup + self.settings.repeat {
            let is_measured = round >= self.settings.warmup;
            for turn in 0..count {
                let Some(runner) = runners.get_mut((turn + round) % count) else {
                    continue;
                };
                if let Ok(running) = &mut runner.state {
                    progress.message(runner.configuration.to_string());
                    let ran = run(&mut running.process, &self.cancel);
                    match self.settle(&runner.configuration, ran)? {
                        Ok(ran) => running.keep(ran, is_measured),
                        Err(reason) => runner.state = Err(reason),
                    }
                }
                progress.step();
            }
        }
        Ok(())
    }

    /// A configuration's failure is reported and kept; the end of all work is not its failure.
    fn settle<T>(&self, configuration: &Configuration, result: Result<T>) -> Result<Result<T, String>> {
        match result {
            Err(error) if error.is_cancelled() => Err(error),
            Err(error) => {
                let reason = describe(&error);
                self.console.failure(&format!("{configuration}: {reason}"));
                Ok(Err(reason))
            }
            Ok(value) => Ok(Ok(value)),
        }
    }

    fn read_device_memory(&self, runners: &mut [Runner]) {
        if !self.has_gpu {
            return;
        }
        let memory: BTreeMap<u32, u64> = nvidia::memory_by_process();
        for running in runners.iter_mut().filter_map(|runner| runner.state.as_mut().ok()) {
            let bytes = memory.get(&running.process.id()).copied();
            running.device_memory = running.device_memory.max(bytes);
        }
    }

    /// The global options with which a configuration is run.
    fn globals_of(&self, planned: &Planned) -> GlobalArgs {
        let mut globals = self.globals.clone();
        globals.device = planned.device.to_owned();
        globals.dtype = planned.dtype.clone();
        globals
    }

    /// This program as a worker.
    fn command(&self, planned: &Planned, globals: &GlobalArgs) -> Result<Command> {
        let program = std::env::current_exe()
            .map_err(|error| Error::Worker(format!("this program's own file is not known: {error}")))?;
        let mut command = Command::new(program);
        command
            .arg(worker::COMMAND)
            .arg("--model")
            .arg(planned.model.to_os_string())
            .args(["--num-beams", &planned.num_beams.to_string()])
            .args(["--batch", &planned.batch.to_string()])
            .args(self.work.to_args())
            .args(global_args(globals));
        Ok(command)
    }
}

impl Running {
    fn keep(&mut self, ran: Ran, is_measured: bool) {
        self.host_memory = ran.peak_memory.or(self.host_memory);
        if is_measured {
            self.samples.push(ran.sample);
        }
    }
}

impl Runner {
    /// Ends the process.
    fn finish(self) -> Entry {
        let outcome = match self.state {
            Ok(running) => Outcome::Measured(Measurement::new(
                running.loaded,
                running.first,
                running.samples,
                running.host_memory,
                running.device_memory,
            )),
            Err(reason) => Outcome::Error(reason),
        };
        Entry {
            configuration: self.configuration,
            outcome,
        }
    }
}

fn run(process: &mut WorkerProcess, cancel: &CancelToken) -> Result<Ran> {
    match process.ask(Request::Run, cancel)? {
        Answer::Ran(ran) => Ok(ran),
        _ => Err(out_of_turn()),
    }
}

fn out_of_turn() -> Error {
    Error::Worker("the worker answered something else than it was asked".into())
}

/// The global options on a worker's command line. Workers fetch nothing: what they need has been fetched for them.
fn global_args(globals: &GlobalArgs) -> Vec<OsString> {
    let mut args: Vec<OsString> = vec![
        "--offline".into(),
        "--image-backend".into(),
        globals.image_backend.name().into(),
        "--device".into(),
        globals.device.to_string().into(),
    ];
    let mut option = |name: &str, value: Option<OsString>| {
        if let Some(value) = value {
            args.extend([name.into(), value]);
        }
    };
    option(
        "--dtype",
        globals.dtype.as_ref().map(|dtype| dtype.to_string().into()),
    );
    option(
        "--threads",
        globals.threads.map(|threads| threads.to_string().into()),
    );
    for ep_option in &globals.ep_options {
        option("--ep-option", Some(ep_option.to_string().into()));
    }
    option("--ort-library", globals.ort_library.clone().map(OsString::from));
    args.extend((0..globals.verbose).map(|_| "--verbose".into()));
    args.extend(globals.quiet.then(|| "--quiet".into()));
    args.extend(globals.no_cpu_fallback.then(|| "--no-cpu-fallback".into()));
    args.extend(globals.no_repair.then(|| "--no-repair".into()));
    args
}
