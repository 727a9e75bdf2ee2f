//! The arguments that commands share.

use std::ffi::OsString;
use std::fmt;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{ArgAction, Args, ValueEnum};
use florence2::PerPart;
use florence2::bundle::{DeploymentNames, Dtype};
use florence2::runtime::{Devices, ProviderOption};
use florence2::{HubOptions, ImageBackend, ModelId, TASKS, TaskKind, hub};

/// The options of every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub struct GlobalArgs {
    /// Log stage timings and the engine's work to stderr (-vv: in full detail)
    #[arg(short, long, global = true, action = ArgAction::Count, conflicts_with = "quiet")]
    pub verbose: u8,
    /// Log nothing but errors to stderr
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// The ONNX Runtime library to load, instead of searching for one
    #[arg(long, global = true, value_name = "PATH")]
    pub ort_library: Option<PathBuf>,
    /// Do not fetch ONNX Runtime if none is found
    #[arg(long, global = true)]
    pub no_fetch: bool,
    /// Do not use the network: models come from the cache only, and ONNX Runtime is not fetched
    #[arg(long, global = true)]
    pub offline: bool,
    /// The folder of the model inside its repository or folder, as transformers' `subfolder`
    #[arg(long, global = true, value_name = "DIR")]
    pub subfolder: Option<String>,
    /// The number of threads to compute with [default: one per physical core]
    #[arg(long, global = true, value_name = "N")]
    pub threads: Option<NonZeroUsize>,
    /// The devices to compute on, the preferred one first, for all parts of the model or for some; `auto` takes the best one
    ///
    /// Examples: `cuda`, `cuda:0,cpu`, `tensorrt,cuda,decoder=cuda`. The parts are vision, text and decoder. Nodes
    /// that none of the devices supports run on the CPU; -v logs which. `florence2 devices` lists the devices.
    #[arg(long, global = true, value_name = "DEVICE", default_value_t, value_parser = PerPart::<Devices>::from_str)]
    pub device: PerPart<Devices>,
    /// An option of a device's execution provider by ONNX Runtime's name, as `tensorrt.trt_fp16_enable=1`; can be repeated
    #[arg(long = "ep-option", global = true, value_name = "DEVICE.OPTION=VALUE", value_parser = ProviderOption::from_str)]
    pub ep_options: Vec<ProviderOption>,
    /// Fail if a node would run on the CPU and --device does not list it
    #[arg(long, global = true)]
    pub no_cpu_fallback: bool,
    /// The dtype of the graphs to load if there are files of several dtypes: for all parts of the model, for some, or
    /// both [default: the first available of fp32, int8, quantized, uint8, q4, bnb4, fp16, q4f16]
    ///
    /// Examples: `int8`, `vision=fp32,decoder=q4`, `int8,vision=fp32`. The parts are vision, text and decoder.
    #[arg(long, global = true, value_name = "DTYPE", value_parser = PerPart::<Dtype>::from_str)]
    pub dtype: Option<PerPart<Dtype>>,
    /// A JSON file with the model's own names for graph files and tensors, in place of the model's `florence2.json`
    #[arg(long, global = true, value_name = "FILE", value_parser = deployment_names)]
    pub names: Option<DeploymentNames>,
    /// Run graphs as exported, without repairing known export errors
    #[arg(long, global = true)]
    pub no_repair: bool,
    /// The image library whose resize and normalisation to reproduce bit for bit; some answers depend on it
    #[arg(long, global = true, value_name = "LIBRARY", value_enum, default_value_t)]
    pub image_backend: ImageBackendArg,
}

/// A value of `--image-backend`.
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

/// A value of `--model`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelArg {
    /// `demo`: the model embedded in this program.
    Demo,
    /// A folder.
    Folder(PathBuf),
    /// A model on a hub.
    Hub(ModelId),
}

impl fmt::Display for ModelArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ModelArg::Demo => f.write_str(florence2::demo::NAME),
            ModelArg::Folder(path) => path.display().fmt(f),
            ModelArg::Hub(id) => id.fmt(f),
        }
    }
}

impl From<OsString> for ModelArg {
    fn from(name: OsString) -> Self {
        match name.to_str() {
            Some("demo") => ModelArg::Demo,
            _ if Path::new(&name).is_dir() => ModelArg::Folder(name.into()),
            Some(text) => match text.parse() {
                Ok(id) if !is_missing_folder(text, &id) => ModelArg::Hub(id),
                _ => ModelArg::Folder(name.into()),
            },
            None => ModelArg::Folder(name.into()),
        }
    }
}

/// Reads the value of `--names`.
fn deployment_names(path: &str) -> Result<DeploymentNames, String> {
    let json = std::fs::read(path).map_err(|error| error.to_string())?;
    serde_json::from_slice(&json).map_err(|error| error.to_string())
}

/// Returns whether a name that could be a model's on a hub is a folder's that does not exist: its first part is a folder here, it has
/// no revision, and no model of this name is cached.
fn is_missing_folder(name: &str, id: &ModelId) -> bool {
    let is_beside_folders = Path::new(name).parent().is_some_and(Path::is_dir);
    let is_cached = || matches!(hub::cached_model(id, &HubOptions::default()), Ok(Some(_)));
    is_beside_folders && !name.contains('@') && !is_cached()
}

/// Parses a task's name (`od`) or tag (`<OD>`).
pub fn task_kind(name: &str) -> Result<TaskKind, String> {
    TaskKind::from_name(name).ok_or_else(|| {
        let names: Vec<&str> = TASKS.iter().map(|row| row.name).collect();
        format!("there is no such task; the tasks are {}", names.join(", "))
    })
}

/// As [`task_kind`], for commands with `--prompt`.
pub fn task_kind_or_prompt(name: &str) -> Result<TaskKind, String> {
    task_kind(name).map_err(|error| {
        if name.starts_with('<') {
            format!("{error}. For a fine-tune's own tag: --prompt '{name}'")
        } else {
            error
        }
    })
}

/// Parses a task's name or tag, or a fine-tune's own tag (`<MY_TASK>`).
pub fn task_or_tag(name: &str) -> Result<Tag, String> {
    match task_kind(name) {
        Ok(kind) => Ok(Tag::Task(kind)),
        Err(_) if name.starts_with('<') && name.ends_with('>') => Ok(Tag::Own(name.to_owned())),
        Err(error) => Err(format!("{error}; a fine-tune's own tag is written <MY_TASK>")),
    }
}

/// The tag of a task, or a fine-tune's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tag {
    Task(TaskKind),
    Own(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_called_demo_can_be_named() {
        assert_eq!(ModelArg::from(OsString::from("demo")), ModelArg::Demo);
        assert_eq!(
            ModelArg::from(OsString::from("./demo")),
            ModelArg::Folder("./demo".into())
        );
    }

    #[test]
    fn a_valid_id_that_is_not_a_folder_is_a_model_on_a_hub() {
        let id = "org/name@v2".parse().unwrap();
        assert_eq!(ModelArg::from(OsString::from("org/name@v2")), ModelArg::Hub(id));
        let folder = env!("CARGO_MANIFEST_DIR");
        assert_eq!(
            ModelArg::from(OsString::from(folder)),
            ModelArg::Folder(folder.into())
        );
        // A folder with a name that could be a model's exists.
        assert_eq!(
            ModelArg::from(OsString::from("src/commands")),
            ModelArg::Folder("src/commands".into())
        );
    }

    #[test]
    fn unknown_tasks_list_the_known_ones() {
        assert_eq!(task_kind("<OD>"), Ok(TaskKind::ObjectDetection));
        assert!(task_kind("unknown").unwrap_err().contains("ocr-with-region"));
        assert!(!task_kind("<DocVQA>").unwrap_err().contains("--prompt"));
        let advice = task_kind_or_prompt("<DocVQA>").unwrap_err();
        assert!(advice.contains("--prompt '<DocVQA>'"), "{advice}");
        assert_eq!(task_or_tag("<OD>"), Ok(Tag::Task(TaskKind::ObjectDetection)));
        assert_eq!(task_or_tag("<DocVQA>"), Ok(Tag::Own("<DocVQA>".into())));
        assert!(task_or_tag("DocVQA").is_err());
    }
}
