//! Starts ONNX Runtime and loads models.

use florence2::bundle::ModelPart;
use florence2::runtime::{self, Device, Progress, RuntimeInfo, RuntimeOptions, SessionOptions};
use florence2::{Florence2, LoadOptions, ModelId};

use crate::args::{GlobalArgs, ModelArg};
use crate::console::Console;
use crate::error::{Error, Result};
use crate::{hub, placement};

/// Starts ONNX Runtime. Fetches it if none is found, unless `--no-fetch` or `--offline` is given.
pub fn start(globals: &GlobalArgs, console: &Console) -> Result<&'static RuntimeInfo> {
    start_with(&runtime_options(globals), globals, console)
}

/// Starts ONNX Runtime as [`start`] does, with `options`.
pub fn start_with(
    options: &RuntimeOptions,
    globals: &GlobalArgs,
    console: &Console,
) -> Result<&'static RuntimeInfo> {
    let info = if globals.no_fetch || globals.offline {
        runtime::init(options)?
    } else {
        let spinner = console.spinner("looking for ONNX Runtime");
        runtime::init_or_fetch(options, &|progress| match progress {
            Progress::Waiting => spinner.message("another process is fetching ONNX Runtime; waiting for it"),
            Progress::Downloading {
                client,
                package,
                version,
                ..
            } => {
                let message =
                    format!("fetching ONNX Runtime ({package} {version}, through {client}), just this once");
                console.note(&message);
                spinner.message(message);
            }
            Progress::Unpacking => spinner.message("unpacking ONNX Runtime"),
            Progress::Done { path } => console.note(&format!("ONNX Runtime is at {}", path.display())),
            _ => {}
        })?
    };
    let version = info.version.as_deref().unwrap_or("of unknown version");
    let path = info
        .path
        .as_ref()
        .map(|path| format!(" from {}", path.display()))
        .unwrap_or_default();
    console.detail(&format!("ONNX Runtime {version}{path}"));
    Ok(info)
}

/// Loads a model: the demo model, with a note on stderr, if none is given.
pub fn load(model: Option<&ModelArg>, globals: &GlobalArgs, console: &Console) -> Result<Florence2> {
    if model.is_none() {
        console.note(
            "no --model is given, so the embedded demo model answers; it knows drawn shapes and signs, not photos",
        );
    }
    // The engine would ask the hub for it.
    if let Some(ModelArg::Folder(folder)) = model
        && !folder.exists()
        && let Some(Ok(id)) = folder.to_str().map(str::parse::<ModelId>)
    {
        return Err(Error::Usage(format!(
            "{id}: there is no such folder; {id}@main asks the hub for a model of this name"
        )));
    }
    start(globals, console)?;
    let loading = console.spinner("loading the model");
    let options = load_options(globals, console);
    let model = match model {
        Some(ModelArg::Folder(folder)) => Florence2::from_pretrained(folder, options)?,
        Some(ModelArg::Hub(id)) => Florence2::from_hub(id, options).map_err(hub::not_a_folder(id))?,
        Some(ModelArg::Demo) | None => Florence2::demo(options)?,
    };
    drop(loading);
    say_devices(&model, globals, console)?;
    Ok(model)
}

/// Reports on stderr which device `auto` resolves to, and where the graphs run.
pub fn say_devices(model: &Florence2, globals: &GlobalArgs, console: &Console) -> Result<()> {
    let parts = ModelPart::ALL.map(|part| globals.device.of(part));
    if let Some(auto) = parts.into_iter().find(|devices| devices.is_auto()) {
        let found: Vec<String> = auto.resolve()?.iter().map(Device::to_string).collect();
        console.note(&format!("the best usable device: {}", found.join(",")));
    }
    for placement in model.placements() {
        console.detail(&format!("{}: {}", placement.graph, placement::summary(placement)));
    }
    Ok(())
}

/// Returns the load options that the global options ask for.
pub fn load_options(globals: &GlobalArgs, console: &Console) -> LoadOptions {
    let mut options = LoadOptions::default();
    options.names = globals.names.clone();
    options
        .with_runtime(runtime_options(globals))
        .with_session(session_options(globals))
        .with_dtype(globals.dtype.clone().unwrap_or_default())
        .with_repair(!globals.no_repair)
        .with_image_backend(globals.image_backend.into())
        .with_hub(hub::options(globals, console))
}

/// Returns the runtime options that the global options ask for.
pub fn runtime_options(globals: &GlobalArgs) -> RuntimeOptions {
    let options = RuntimeOptions::default().with_devices(globals.device.kinds());
    match &globals.ort_library {
        Some(path) => options.with_library(path),
        None => options,
    }
}

/// Returns the session options that the global options ask for.
pub fn session_options(globals: &GlobalArgs) -> SessionOptions {
    let mut options = SessionOptions::default();
    options.intra_threads = globals.threads.map(usize::from);
    options.devices = globals.device.clone();
    options.provider_options = globals.ep_options.clone();
    options.cpu_fallback = !globals.no_cpu_fallback;
    options
}
