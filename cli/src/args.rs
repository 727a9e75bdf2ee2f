//! The command line: what all commands share.

use std::ffi::OsString;
use std::fmt;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use florence2::PerPart;
use florence2::bundle::Dtype;
use florence2::runtime::{Devices, ProviderOption};
use florence2::{ImageBackend, ModelId, TASKS, TaskKind};

use crate::commands;

/// Florence-2 on the command line: captions, detection, OCR, grounding, segmentation.
#[derive(Debug, Parser)]
#[command(
    name = "florence2",
    version,
    arg_required_else_help = true,
    subcommand_required = true
)]
#[command(after_help = "\
Examples:
  florence2 demo                             every task, with the embedded model
  florence2 run -m onnx-community/Florence-2-base-ft -t od street.jpg
                                             the objects in a picture
  florence2 run -m DIR -t od,caption --format jsonl *.jpg > answers.jsonl

Results go to stdout, everything else to stderr. Exit codes: 0 all good; 1 some
inputs failed, the others were done; 2 usage, model or device error. NO_COLOR is
respected.")]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
    #[command(flatten)]
    pub globals: GlobalArgs,
}

/// What to do; each is described where its arguments are.
#[derive(Debug, Subcommand)]
pub enum Command {
    Run(Box<commands::run::RunArgs>),
    Parse(commands::parse::ParseArgs),
    Compare(Box<commands::compare::CompareArgs>),
    Eval(Box<commands::eval::EvalArgs>),
    Bench(Box<commands::bench::BenchArgs>),
    Tasks(commands::tasks::TasksArgs),
    Inspect(commands::inspect::InspectArgs),
    Devices(commands::devices::DevicesArgs),
    Export(commands::export::ExportArgs),
    Demo(commands::demo::DemoArgs),
    Pull(commands::pull::PullArgs),
    Repair(commands::repair::RepairArgs),
    Models(commands::models::ModelsArgs),
    Cache(commands::cache::CacheArgs),
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub struct GlobalArgs {
    /// Say more on stderr: stage timings and what the engine does (-vv: all it does)
    #[arg(short, long, global = true, action = ArgAction::Count, conflicts_with = "quiet")]
    pub verbose: u8,
    /// Say nothing on stderr but errors
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// The ONNX Runtime library to load, instead of looking for one
    #[arg(long, global = true, value_name = "PATH")]
    pub ort_library: Option<PathBuf>,
    /// Do not fetch ONNX Runtime if this machine has none
    #[arg(long, global = true)]
    pub no_fetch: bool,
    /// Keep off the network: models come from the cache only, and ONNX Runtime is not fetched
    #[arg(long, global = true)]
    pub offline: bool,
    /// Threads to compute with [default: one per physical core]
    #[arg(long, global = true, value_name = "N")]
    pub threads: Option<NonZeroUsize>,
    /// The devices to compute on, the preferred one first, for all graphs or for some; `auto` takes the best one
    ///
    /// Examples: `cuda`, `cuda:0,cpu`, `tensorrt,cuda,decoder=cuda`. The parts are vision, text and decoder. What none of
    /// them can do runs on the processor; -v says what. `florence2 devices` lists them.
    #[arg(long, global = true, value_name = "DEVICE", default_value_t, value_parser = PerPart::<Devices>::from_str)]
    pub device: PerPart<Devices>,
    /// An option for a device's execution provider, in its own words, as `tensorrt.trt_fp16_enable=1`; can be repeated
    #[arg(long = "ep-option", global = true, value_name = "DEVICE.OPTION=VALUE", value_parser = ProviderOption::from_str)]
    pub ep_options: Vec<ProviderOption>,
    /// Fail if anything would run on the processor that is not listed in --device
    #[arg(long, global = true)]
    pub no_cpu_fallback: bool,
    /// Which of a graph's files to load, where there are several: a dtype for all graphs, for some, or both
    /// [default: the first that is there of fp32, int8, quantized, uint8, q4, bnb4, fp16, q4f16]
    ///
    /// Examples: `int8`, `vision=fp32,decoder=q4`, `int8,vision=fp32`. The parts are vision, text and decoder.
    #[arg(long, global = true, value_name = "DTYPE", value_parser = PerPart::<Dtype>::from_str)]
    pub dtype: Option<PerPart<Dtype>>,
    /// Run graphs as they were exported, even those that are known to be wrong and would be repaired when loaded
    #[arg(long, global = true)]
    pub no_repair: bool,
    /// The image library whose resize and normalisation to reproduce bit for bit; an answer now and then depends on it
    #[arg(long, global = true, value_name = "LIBRARY", value_enum, default_value_t)]
    pub image_backend: ImageBackendArg,
}

/// An image backend, as `--image-backend` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum ImageBackendArg {
    /// Pillow 13.0: transformers' AutoProcessor with backend="pil", or where torchvision is not installed
    #[default]
    Pillow,
    /// torchvision 0.29: transformers' AutoProcessor where torchvision is installed
    Torchvision,
}

impl From<ImageBackendArg> for ImageBackend {
    fn from(arg: ImageBackendArg) -> Self {
        match arg {
            ImageBackendArg::Pillow => ImageBackend::Pillow,
            ImageBackendArg::Torchvision => ImageBackend::Torchvision,
        }
    }
}

/// A model, as `--model` has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelArg {
    /// `demo`: the one embedded in this program.
    Demo,
    /// A folder.
    Folder(PathBuf),
    /// A model on a hub.
    Hub(ModelId),
}

impl ModelArg {
    /// As `--model` has it.
    pub fn to_os_string(&self) -> OsString {
        match self {
            ModelArg::Demo => florence2::demo::NAME.into(),
            ModelArg::Folder(path) => path.into(),
            ModelArg::Hub(id) => id.to_string().into(),
        }
    }
}

impl fmt::Display for ModelArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_os_string().to_string_lossy())
    }
}

impl From<OsString> for ModelArg {
    fn from(name: OsString) -> Self {
        match name.to_str() {
            Some("demo") => ModelArg::Demo,
            _ if Path::new(&name).is_dir() => ModelArg::Folder(name.into()),
            Some(text) => text
                .parse()
                .map_or_else(|_| ModelArg::Folder(name.into()), ModelArg::Hub),
            None => ModelArg::Folder(name.into()),
        }
    }
}

/// A task's name (`od`) or tag (`<OD>`).
pub fn task_kind(name: &str) -> Result<TaskKind, String> {
    TaskKind::from_name(name).ok_or_else(|| {
        let names: Vec<&str> = TASKS.iter().map(|row| row.name).collect();
        let advice = match name.starts_with('<') {
            true => format!(" To send a fine-tune's own tag to the model as it is: --prompt '{name}'"),
            false => String::new(),
        };
        format!(
            "there is no such task; the tasks are {}.{advice}",
            names.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_fit_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_folder_called_demo_can_be_named() {
        assert_eq!(ModelArg::from(OsString::from("demo")), ModelArg::Demo);
        assert_eq!(
            ModelArg::from(OsString::from("./demo")),
            ModelArg::Folder("./demo".into())
        );
    }

    #[test]
    fn what_is_no_folder_is_a_model_on_a_hub_if_it_can_be() {
        let id = "org/name@v2".parse().unwrap();
        assert_eq!(ModelArg::from(OsString::from("org/name@v2")), ModelArg::Hub(id));
        let folder = env!("CARGO_MANIFEST_DIR");
        assert_eq!(
            ModelArg::from(OsString::from(folder)),
            ModelArg::Folder(folder.into())
        );
        // There is a folder that could be a model's name as well.
        assert_eq!(
            ModelArg::from(OsString::from("src/commands")),
            ModelArg::Folder("src/commands".into())
        );
    }

    #[test]
    fn unknown_tasks_come_with_the_known_ones() {
        assert_eq!(task_kind("<OD>"), Ok(TaskKind::ObjectDetection));
        assert!(task_kind("odd").unwrap_err().contains("ocr-with-region"));
        assert!(task_kind("<DocVQA>").unwrap_err().contains("--prompt '<DocVQA>'"));
    }
}
