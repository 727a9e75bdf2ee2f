//! `florence2 bench`: the same work on every execution provider, precision, search and batch size that is asked for.

mod columns;
mod comparison;
mod environment;
mod figures;
mod measure;
mod memory;
mod nvidia;
mod picture;
mod plan;
mod process;
mod protocol;
mod record;
mod report;
mod spreadsheet;
mod statistics;
mod work;
pub mod worker;

use std::path::PathBuf;

use clap::Args;
use clap::builder::RangedU64ValueParser;
use florence2::PerPart;
use florence2::bundle::Dtype;
use florence2::runtime::Devices;

use self::comparison::{Comparison, incomparable};
use self::environment::Environment;
use self::measure::Bench;
use self::plan::{Axes, Configuration, Planned};
use self::record::{Picture, Run, SCHEMA, Settings};
use self::report::{render, render_plan};
use self::work::Work;
use crate::args::{GlobalArgs, ModelArg};
use crate::console::Console;
use crate::engine;
use crate::error::{Error, Outcome, Result};
use crate::interrupt;
use crate::output::{Destination, TableFormat, Target, json_pretty};

/// Measure models on devices: loading, stages, ms per token, throughput, memory
///
/// Every combination of the models, devices, dtypes, beams and batch sizes is measured, each in a process of its own.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  florence2 bench -m base-fp32 -m base-int8 --num-beams 1,3
  florence2 bench -m DIR --device cpu --dtype fp32 --dtype int8 --batch 1,8
  florence2 bench -m DIR --save before.json
  florence2 bench -m DIR --baseline before.json

load: ONNX Runtime and the model. first run: the first batch. end to end: from
decoded pictures to parsed answers; like the stages, of a whole batch. per token:
decoder and search by the tokens of an answer. ±: half the distance of the
quartiles, as a share of the median. host: the process's peak memory; device: its
memory on NVIDIA GPUs when it was read.

Configurations are loaded and answer once one after the other, while the others
wait. Then they take turns. A configuration that cannot be measured is listed with
the reason, and the exit code is 1.

--baseline marks a change only if a rank test (Mann-Whitney, at 0.001) is sure of
it and it is at least 2 % and more than the noise of both runs; that takes 7
rounds or more in each.")]
pub struct BenchArgs {
    /// A model: a folder with ONNX graphs, a name on a hub, or `demo`; may be repeated [default: demo]
    #[arg(short, long = "model", value_name = "MODEL")]
    models: Vec<ModelArg>,
    /// Devices to compute on, as `cuda:0` or `tensorrt,cuda,decoder=cuda`; may be repeated, to measure each
    // It has the global option's id and type, and so takes its place, which can be given but once; so does --dtype.
    #[arg(id = "device", long = "device", value_name = "DEVICE", value_parser = clap::value_parser!(PerPart<Devices>))]
    devices: Vec<PerPart<Devices>>,
    /// Which of a graph's files to load, as `int8` or `vision=fp32,decoder=q4`; may be repeated, to measure each
    #[arg(id = "dtype", long = "dtype", value_name = "DTYPE", value_parser = clap::value_parser!(PerPart<Dtype>))]
    dtypes: Vec<PerPart<Dtype>>,
    /// Beams; 1 is greedy search. Several: commas
    #[arg(long, value_name = "N,...", default_value = "3", value_delimiter = ',', value_parser = one_or_more())]
    num_beams: Vec<usize>,
    /// Pictures that are answered together. Several sizes: commas
    #[arg(long, value_name = "N,...", default_value = "1", value_delimiter = ',', value_parser = one_or_more())]
    batch: Vec<usize>,
    /// Rounds before those that count
    #[arg(long, value_name = "N", default_value_t = 2)]
    warmup: usize,
    /// Rounds that count
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = one_or_more())]
    repeat: usize,
    /// How many configurations are in memory and take turns; the next ones follow [default: all]
    #[arg(long, value_name = "N", value_parser = one_or_more())]
    at_once: Option<usize>,
    /// How the figures are written
    #[arg(long, value_enum, default_value_t = TableFormat::Table)]
    format: TableFormat,
    /// Save everything to this file, as JSON
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// Compare with what was saved to this file
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// Only list what would be measured
    #[arg(long)]
    list: bool,
    // Last: its heading would stand over what follows.
    #[command(flatten)]
    work: Work,
}

/// A count that is not 0.
fn one_or_more() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..)
}

pub fn bench(args: &BenchArgs, globals: &GlobalArgs, console: &Console) -> Result<Outcome> {
    let plan = args.axes(console).plan();
    if args.list {
        let configurations: Vec<Configuration> = plan.iter().map(Planned::configuration).collect();
        write(&render_plan(&configurations, args.format)?)?;
        return Ok(Outcome::AllGood);
    }
    // What could fail at the end fails now.
    let settings = args.settings(globals)?;
    let baseline = args.baseline(&settings)?;
    let target = args.save.clone().map(Target::File);
    let saved = target.as_ref().map(Destination::open).transpose()?;
    let environment = Environment::detect(engine::start(globals, console)?);

    let bench = Bench {
        work: &args.work,
        settings: &settings,
        has_gpu: !environment.machine.gpus.is_empty(),
        cancel: interrupt::cancelling(),
        globals,
        console,
    };
    let configurations = bench.measure(&plan)?;
    let run = Run {
        schema: SCHEMA.to_owned(),
        environment,
        settings,
        configurations,
    };
    let comparison = baseline.map(|(path, before)| Comparison::new(&run, path, &before));
    for warning in comparison.iter().flat_map(|comparison| &comparison.warnings) {
        console.warn(warning);
    }
    if let Some(mut saved) = saved {
        saved.write(&json_pretty(&run)?)?;
        saved.commit()?;
    }
    write(&render(&run, comparison.as_ref(), args.format)?)?;
    Ok(
        match run.configurations.iter().any(|entry| entry.failure().is_some()) {
            true => Outcome::SomeFailed,
            false => Outcome::AllGood,
        },
    )
}

impl BenchArgs {
    fn axes(&self, console: &Console) -> Axes {
        let models = match self.models.as_slice() {
            [] => {
                console.note("no --model is given, so the embedded demo model is measured; it is far smaller than real ones");
                vec![ModelArg::Demo]
            }
            models => models.to_vec(),
        };
        let dtypes = match self.dtypes.as_slice() {
            [] => vec![None],
            dtypes => dtypes.iter().cloned().map(Some).collect(),
        };
        Axes {
            models,
            devices: self.devices.clone(),
            dtypes,
            num_beams: self.num_beams.clone(),
            batches: self.batch.clone(),
        }
    }

    /// What all configurations have in common, checked: the task takes no input, and the picture can be read.
    fn settings(&self, globals: &GlobalArgs) -> Result<Settings> {
        self.work.task()?;
        let (width, height) = self.work.picture()?.dimensions();
        Ok(Settings {
            task: self.work.task.spec().name.to_owned(),
            picture: Picture {
                name: self.work.picture_name(),
                width,
                height,
            },
            tokens: self.work.tokens,
            warmup: self.warmup,
            repeat: self.repeat,
            threads: globals.threads.map(usize::from),
            at_once: self.at_once,
        })
    }

    /// The run to compare with; it must have measured the same work.
    fn baseline(&self, settings: &Settings) -> Result<Option<(&PathBuf, Run)>> {
        let Some(path) = &self.baseline else {
            return Ok(None);
        };
        let run = Run::read(path)?;
        match incomparable(settings, &run.settings) {
            Some(reason) => Err(Error::Baseline {
                path: path.clone(),
                reason,
            }),
            None => Ok(Some((path, run))),
        }
    }
}

fn write(text: &str) -> Result<()> {
    let mut out = Destination::open(&Target::Stdout)?;
    out.write(text)?;
    out.commit()
}
