//! `florence2 export`: exports a checkpoint to ONNX graphs.

mod calibrate;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use florence2::hub::{self, Prepared};
use florence2::{Bundle, BundleSource, LoadOptions, ModelId};
use florence2_export::TOKENIZER_FILES;
use florence2_export::{
    Checkpoint, Dtype, ExportOptions, RandomOptions, RandomSize, Report, Target as ExportTarget,
    random_checkpoint,
};

use crate::args::GlobalArgs;
use crate::console::Console;
use crate::engine;
use crate::error::{Error, Outcome, Result};
use crate::output::{Column, Table, print};

/// Export a checkpoint to ONNX graphs
///
/// A checkpoint is a repository on a hub, or a folder with config.json and weights (safetensors, or pytorch_model.bin, of which no code is run), in
/// transformers' or Microsoft's naming. The configuration and tokenizer files that the graphs need are written beside them.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  florence2 export Florence-2-base-ft --out base-ft-onnx
  florence2 export microsoft/Florence-2-base-ft --adapter fine-tune/checkpoint-500 --out mine
  florence2 export Florence-2-base-ft --target cpu --precision int8 --out base-ft-int8
  florence2 export Florence-2-base-ft --target cpu --precision int8 --out base-ft-int8 --calibrate photos/*.jpg
  florence2 export Florence-2-base-ft --precision fp16 --out base-ft-fp16
  florence2 export Florence-2-base-ft --target cuda --precision fp16 --out base-ft-cuda
  florence2 run -m base-ft-onnx -t od street.jpg
  florence2 export --random large --out bench --tokenizer Florence-2-large")]
pub struct ExportArgs {
    /// The checkpoint: a folder, or a model on a hub as `organisation/name` or `organisation/name@revision`
    #[arg(required_unless_present = "random", conflicts_with = "random")]
    checkpoint: Option<OsString>,
    /// A PEFT adapter (LoRA) to merge into the checkpoint: a folder, or a repository on a hub
    #[arg(long, value_name = "ADAPTER")]
    adapter: Option<OsString>,
    /// Export a checkpoint of a published size with random weights, written to DIR/checkpoint: for benchmarks
    #[arg(long, value_enum, value_name = "SIZE")]
    random: Option<RandomSizeArg>,
    /// The seed of the random weights
    #[arg(long, value_name = "N", default_value_t = 0, requires = "random")]
    seed: u64,
    /// The folder to write, created if it does not exist
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
    /// The runtime that the graphs are for: plain for the layout of onnx-community with standard ONNX operators, cpu for
    /// the fused layout, which is faster with ONNX Runtime on a CPU, cuda for the fused layout on GPUs
    #[arg(long, default_value = ExportTarget::default().name())]
    target: ExportTarget,
    /// The dtype of the weights, by the names of --dtype: fp32; for plain also fp16, int8 (or quantized, the same by the
    /// name that transformers.js looks for), uint8, q4 (or int4), q4f16 and bnb4; for cpu also int8, and q4 (the decoder;
    /// the encoders are int8); for cuda also fp16, which CUDA needs
    #[arg(long, value_name = "DTYPE", default_value = Dtype::default().name())]
    precision: Dtype,
    /// Leave layers in fp32 in any precision: a part of their path in the checkpoint, such as `blocks.3` or `fc2`, with
    /// `*` for any characters between dots; may be repeated
    #[arg(long, value_name = "PATTERN")]
    keep_fp32: Vec<String>,
    /// With fp16 and q4f16: inputs, outputs and KV caches in float16 too, without conversion
    #[arg(long)]
    float16_io: bool,
    /// Sample photos for SmoothQuant: in a quantized export, channels of large activations then cost the others less
    /// accuracy. The model runs once on each (about 20 are enough)
    #[arg(long, value_name = "IMAGE", num_args = 1..)]
    calibrate: Vec<PathBuf>,
    /// The side of the model's square input images in pixels, a multiple of 32 [default: the checkpoint's]
    #[arg(long, value_name = "N")]
    image_size: Option<u32>,
    /// The folder of the tokenizer's files, for a checkpoint without them
    #[arg(long, value_name = "DIR")]
    tokenizer: Option<PathBuf>,
    /// Write into a folder that is not empty
    #[arg(short, long)]
    force: bool,
}

/// The published models' sizes.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum RandomSizeArg {
    /// 0.23 billion parameters
    Base,
    /// 0.77 billion parameters
    Large,
}

impl From<RandomSizeArg> for RandomSize {
    fn from(size: RandomSizeArg) -> Self {
        match size {
            RandomSizeArg::Base => RandomSize::Base,
            RandomSizeArg::Large => RandomSize::Large,
        }
    }
}

pub fn export(args: &ExportArgs, globals: &GlobalArgs, console: &Console) -> Result<Outcome> {
    check_out(&args.out, args.force)?;
    check_calibration(args)?;
    let mut options = ExportOptions::default()
        .with_target(args.target)
        .with_dtype(args.precision)
        .with_keep_fp32(&args.keep_fp32)
        .with_float16_io(args.float16_io);
    options.image_size = args.image_size;
    let folder = checkpoint_folder(args, globals, console)?;
    let mut checkpoint = Checkpoint::open(&folder)?;
    if let Some(adapter) = &args.adapter {
        checkpoint = checkpoint.with_adapter(local(adapter, None, globals, console, hub::fetch_adapter)?)?;
    }
    for (name, bytes) in tokenizer_files(args.tokenizer.as_deref())? {
        checkpoint = checkpoint.with_file(name, bytes);
    }
    if !args.calibrate.is_empty() {
        engine::start(globals, console)?;
        let session = engine::session_options(globals);
        let ranges = calibrate::activation_ranges(&checkpoint, &args.calibrate, &options, &session, console)?;
        options.activation_ranges = Some(ranges);
    }
    let spinner = console.spinner(format!("exporting {}", folder.display()));
    let report = florence2_export::export(&checkpoint, &args.out, &options)?;
    drop(spinner);

    print(&summary(&args.out, &report))?;
    match Bundle::open(BundleSource::Folder(args.out.clone()))?
        .missing()
        .as_slice()
    {
        [] => console.note(&format!(
            "try it: florence2 run --model {} --task od IMAGE",
            args.out.display()
        )),
        missing => console.warn(&format!(
            "the checkpoint has no {}; to run the model, add it to {}",
            missing.join(", nor "),
            args.out.display()
        )),
    }
    Ok(Outcome::AllGood)
}

/// Checks that `--calibrate` is given for a quantized export only.
fn check_calibration(args: &ExportArgs) -> Result<()> {
    if args.calibrate.is_empty() || args.precision != Dtype::Fp32 {
        return Ok(());
    }
    Err(Error::Usage(
        "--calibrate is for quantized exports; give --target cpu --precision int8 with it".into(),
    ))
}

/// Returns the folder of the checkpoint to export. With `--random`, writes the checkpoint first.
fn checkpoint_folder(args: &ExportArgs, globals: &GlobalArgs, console: &Console) -> Result<PathBuf> {
    match (&args.checkpoint, args.random) {
        (Some(name), _) => local(
            name,
            globals.subfolder.as_deref(),
            globals,
            console,
            hub::fetch_checkpoint,
        ),
        (None, Some(size)) => {
            let folder = args.out.join("checkpoint");
            let _spinner = console.spinner(format!("making a random checkpoint in {}", folder.display()));
            let options = RandomOptions::default()
                .with_size(size.into())
                .with_seed(args.seed);
            random_checkpoint(&folder, &options)?;
            Ok(folder)
        }
        (None, None) => Err(Error::Usage("name the checkpoint's folder".into())),
    }
}

/// Returns a folder, or that to which `fetch` fetches the model of this name. A name that is neither is returned as a folder,
/// which the exporter then misses. `subfolder` is the folder inside it to take.
fn local(
    name: &OsStr,
    subfolder: Option<&str>,
    globals: &GlobalArgs,
    console: &Console,
    fetch: impl Fn(&ModelId, &LoadOptions) -> florence2::Result<Prepared>,
) -> Result<PathBuf> {
    let path = Path::new(name);
    let id = name.to_str().filter(|_| !path.exists());
    let Some(id) = id.and_then(|id| id.parse::<ModelId>().ok()) else {
        return Ok(path.join(subfolder.unwrap_or_default()));
    };
    let mut options = LoadOptions::default().with_hub(crate::hub::options(globals, console));
    options.hub.subfolder = subfolder.map(str::to_owned);
    Ok(fetch(&id, &options)?.folder)
}

/// Reads the tokenizer's files in a folder, with their names.
fn tokenizer_files(folder: Option<&Path>) -> Result<Vec<(&'static str, Vec<u8>)>> {
    let Some(folder) = folder else {
        return Ok(Vec::new());
    };
    let mut files = Vec::new();
    for name in TOKENIZER_FILES {
        let path = folder.join(name);
        if path.is_file() {
            files.push((name, fs::read(&path).map_err(Error::io(path))?));
        }
    }
    if files.is_empty() {
        return Err(Error::Usage(format!(
            "--tokenizer: {} has neither tokenizer.json nor vocab.json and merges.txt",
            folder.display()
        )));
    }
    Ok(files)
}

/// Checks that the output folder is empty, unless `force` is set.
fn check_out(out: &Path, force: bool) -> Result<()> {
    if out.is_file() {
        return Err(Error::Usage(format!(
            "{} is a file; name a folder",
            out.display()
        )));
    }
    let occupied = fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_some());
    if occupied && !force {
        return Err(Error::Usage(format!(
            "{} is not empty; name another folder, or give --force to overwrite files of the same names",
            out.display()
        )));
    }
    Ok(())
}

fn summary(out: &Path, report: &Report) -> String {
    let mut table = Table::new([Column::Number("bytes"), Column::Text("file")]);
    for (file, bytes) in &report.files {
        table.row([bytes.to_string(), out.join(file).display().to_string()]);
    }
    let total: u64 = report.files.iter().map(|(_, bytes)| bytes).sum();
    format!(
        "{}\n{} files, {}, for images of {}x{} pixels\n",
        table.text(0),
        report.files.len(),
        indicatif::HumanBytes(total),
        report.image_size.width,
        report.image_size.height,
    )
}
