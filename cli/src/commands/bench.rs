//! `florence2 bench`: the same work on every combination of model, device, dtype, beams and batch size.

mod comparison;
mod environment;
mod figures;
mod measure;
mod plan;
mod process;
mod record;
mod report;
mod tables;
mod worker;

use std::path::PathBuf;

use clap::Args;
use clap::builder::RangedU64ValueParser;
use florence2::PerPart;
use florence2::bundle::Dtype;
use florence2::runtime::Devices;

use self::comparison::{Comparison, incomparable};
use self::environment::Environment;
use self::measure::Bench;
use self::plan::{Configuration, Planned, Work};
use self::record::{ImageRecord, Run, SCHEMA, Settings};
use self::report::{render, render_plan};
use crate::args::{GlobalArgs, ModelArg};
use crate::console::Console;
use crate::engine;
use crate::error::{Error, Outcome, Result};
use crate::interrupt;
use crate::output::{Destination, TableFormat, Target, json_pretty, print};

/// Measure models on devices: loading, stages, ms per token, throughput, memory
///
/// Every combination of the models, devices, dtypes, beams and batch sizes is measured, each in its own process.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  florence2 bench -m base-fp32 -m base-int8 --num-beams 1,3
  florence2 bench -m DIR --device cpu --dtype fp32 --dtype int8 --batch 1,8
  florence2 bench -m DIR --save before.json
  florence2 bench -m DIR --baseline before.json

load: ONNX Runtime and the model. first run: the first batch. preprocess, vision,
text: the stages of a batch. end to end: a batch, from decoded images to parsed
answers. per token: decoder and search divided by the tokens of an answer. ±: half
the interquartile range as a share of the median. host: the process's peak memory.
device: the process's memory on NVIDIA GPUs after the last round.

Configurations are loaded one after the other, while the others wait. Then they
take turns, one batch each in every round. A configuration that fails is listed
with the reason, and the exit code is 1.

--baseline shows the ratio of this run's medians to the saved ones, and the range
of the ratio by the quartiles of both. A range that contains 1 is no change.")]
pub struct BenchArgs {
    /// A model: a folder with ONNX graphs, a name on a hub, or `demo`; may be repeated [default: demo]
    #[arg(short, long = "model", value_name = "MODEL")]
    models: Vec<ModelArg>,
    /// Devices to compute on, as `cuda:0` or `tensorrt,cuda,decoder=cuda`; may be repeated, to measure each
    // Its id and type are those of the global option, which cannot be repeated, so that it replaces that option;
    // likewise --dtype.
    #[arg(id = "device", long = "device", value_name = "DEVICE", value_parser = clap::value_parser!(PerPart<Devices>))]
    devices: Vec<PerPart<Devices>>,
    /// Which of a graph's files to load, as `int8` or `vision=fp32,decoder=q4`; may be repeated, to measure each
    #[arg(id = "dtype", long = "dtype", value_name = "DTYPE", value_parser = clap::value_parser!(PerPart<Dtype>))]
    dtypes: Vec<PerPart<Dtype>>,
    /// Beams; 1 is greedy search. Several: commas
    #[arg(long, value_name = "N,...", default_value = "3", value_delimiter = ',', value_parser = one_or_more())]
    num_beams: Vec<usize>,
    /// Images per batch. Several sizes: commas
    #[arg(long, value_name = "N,...", default_value = "1", value_delimiter = ',', value_parser = one_or_more())]
    batch: Vec<usize>,
    /// Warm-up rounds, which are not counted
    #[arg(long, value_name = "N", default_value_t = 2)]
    warmup: usize,
    /// Rounds that are counted
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = one_or_more())]
    repeat: usize,
    /// How many configurations are in memory and take turns; the next ones follow [default: all]
    #[arg(long, value_name = "N", value_parser = one_or_more())]
    at_once: Option<usize>,
    /// Output format
    #[arg(long, value_enum, default_value_t = TableFormat::Table)]
    format: TableFormat,
    /// Save everything to this file, as JSON
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// Compare with the run saved to this file
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// Only list the configurations
    #[arg(long)]
    list: bool,
    /// Measure only the configuration with this index in the list, as the worker of another process
    #[arg(long = worker::OPTION, value_name = "INDEX", hide = true)]
    worker: Option<usize>,
    // The last field, since its help heading would apply to the options after it.
    #[command(flatten)]
    work: Work,
}

/// Parses an integer that is not 0.
fn one_or_more() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..)
}

/// Measures the configurations, or one of them as a worker, or lists them.
pub fn bench(args: &BenchArgs, globals: &GlobalArgs, console: &Console) -> Result<Outcome> {
    let plan = args.plan(globals);
    if let Some(index) = args.worker {
        let planned = plan
            .get(index)
            .ok_or_else(|| Error::Worker(format!("there is no configuration {index}")))?;
        worker::run(args, planned, console)?;
        return Ok(Outcome::AllGood);
    }
    if args.models.is_empty() {
        console.note(
            "no --model is given, so the embedded demo model is measured; it is far smaller than real ones",
        );
    }
    if args.list {
        let configurations: Vec<&Configuration> = plan.iter().map(|planned| &planned.configuration).collect();
        print(&render_plan(&configurations, args.format)?)?;
        return Ok(Outcome::AllGood);
    }
    // Everything that can fail without measuring is checked before measuring.
    let settings = args.settings(globals)?;
    let baseline = args.baseline(&settings)?;
    let target = args.save.clone().map(Target::File);
    let saved = target.as_ref().map(Destination::open).transpose()?;
    let environment = Environment::detect(engine::start(globals, console)?);

    let bench = Bench {
        settings: &settings,
        has_gpu: !environment.machine.gpus.is_empty(),
        cancel: interrupt::cancelling(),
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
    print(&render(&run, comparison.as_ref(), args.format)?)?;
    if run.configurations.iter().any(|entry| entry.failure().is_some()) {
        Ok(Outcome::SomeFailed)
    } else {
        Ok(Outcome::AllGood)
    }
}

impl BenchArgs {
    /// Returns every combination once, in the order in which its values were given.
    fn plan(&self, globals: &GlobalArgs) -> Vec<Planned> {
        let models = if self.models.is_empty() {
            vec![ModelArg::Demo]
        } else {
            self.models.clone()
        };
        let dtypes = if self.dtypes.is_empty() {
            vec![None]
        } else {
            self.dtypes.iter().cloned().map(Some).collect()
        };
        let mut plan: Vec<Planned> = Vec::new();
        for model in &models {
            for device in &self.devices {
                for dtype in &dtypes {
                    let mut globals = globals.clone();
                    globals.device = device.clone();
                    globals.dtype = dtype.clone();
                    for &num_beams in &self.num_beams {
                        for &batch in &self.batch {
                            let configuration = Configuration {
                                model: model.to_string(),
                                device: device.to_string(),
                                dtype: dtype
                                    .as_ref()
                                    .map_or_else(|| "auto".to_owned(), PerPart::to_string),
                                num_beams,
                                batch,
                            };
                            if plan.iter().all(|planned| planned.configuration != configuration) {
                                plan.push(Planned {
                                    configuration,
                                    model: model.clone(),
                                    globals: globals.clone(),
                                });
                            }
                        }
                    }
                }
            }
        }
        plan
    }

    /// Returns the settings that all configurations have in common.
    ///
    /// # Errors
    /// If the task takes an input, or the image cannot be read.
    fn settings(&self, globals: &GlobalArgs) -> Result<Settings> {
        self.work.task()?;
        let (name, image) = self.work.image()?;
        Ok(Settings {
            task: self.work.task_name().to_owned(),
            image: ImageRecord {
                name,
                width: image.width(),
                height: image.height(),
            },
            tokens: self.work.tokens,
            warmup: self.warmup,
            repeat: self.repeat,
            threads: globals.threads.map(usize::from),
            at_once: self.at_once,
        })
    }

    /// Reads the run to compare with.
    ///
    /// # Errors
    /// [`Error::Baseline`] if it measured other work, or is no saved run.
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

#[cfg(test)]
mod tests {
    use clap::{Parser, Subcommand};

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        globals: GlobalArgs,
        #[command(subcommand)]
        command: Command,
    }

    #[derive(Subcommand)]
    enum Command {
        Bench(BenchArgs),
    }

    #[test]
    fn every_combination_is_planned_once() {
        let args = "florence2 bench -m demo -m org/a --device cpu --device cpu --dtype q4 --dtype int8,vision=fp32 \
                    --batch 1,8,1";
        let program = Program::try_parse_from(args.split_whitespace()).unwrap();
        let Command::Bench(args) = program.command;
        let plan = args.plan(&program.globals);
        let names: Vec<String> = plan
            .iter()
            .map(|planned| planned.configuration.to_string())
            .collect();
        assert_eq!(
            names,
            [
                "demo on cpu, dtype q4, beams 3, batch 1",
                "demo on cpu, dtype q4, beams 3, batch 8",
                "demo on cpu, dtype int8,vision=fp32, beams 3, batch 1",
                "demo on cpu, dtype int8,vision=fp32, beams 3, batch 8",
                "org/a on cpu, dtype q4, beams 3, batch 1",
                "org/a on cpu, dtype q4, beams 3, batch 8",
                "org/a on cpu, dtype int8,vision=fp32, beams 3, batch 1",
                "org/a on cpu, dtype int8,vision=fp32, beams 3, batch 8",
            ]
        );
        let dtype = plan[2].globals.dtype.as_ref().unwrap();
        assert_eq!(dtype.to_string(), "int8,vision=fp32");
    }
}
