//! Options of fetching models, and the display of progress.

use std::sync::Mutex;

use florence2::hub::HubProgress;
use florence2::{HubOptions, ModelId};

use crate::args::GlobalArgs;
use crate::console::{Console, Progress};
use crate::error::Error;

/// Returns the options of fetching models. The console shows the progress.
pub fn options(globals: &GlobalArgs, console: &Console) -> HubOptions {
    let console = console.clone();
    let shown: Mutex<Option<Progress>> = Mutex::new(None);
    let mut options = HubOptions::default().with_progress(move |progress| {
        let mut bar = shown.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        show(progress, &mut bar, &console);
    });
    options.subfolder = globals.subfolder.clone();
    if globals.offline {
        options.with_offline(true)
    } else {
        options
    }
}

/// Returns a function for `map_err` that adds to errors of fetching a model that there is no folder of its name either.
pub fn not_a_folder(id: &ModelId) -> impl FnOnce(florence2::Error) -> Error {
    |error| match error {
        florence2::Error::NotFound { .. }
        | florence2::Error::AccessDenied { .. }
        | florence2::Error::Network { .. }
        | florence2::Error::HttpStatus { .. }
        | florence2::Error::NotCached { .. } => Error::NotAFolder {
            id: id.clone(),
            source: Box::new(error),
        },
        error => error.into(),
    }
}

/// Shows progress in one bar for all files of a model.
fn show(progress: HubProgress<'_>, bar: &mut Option<Progress>, console: &Console) {
    match progress {
        HubProgress::Planned { files, bytes } => {
            console.note(&format!(
                "fetching {files} {}, {}",
                if files == 1 { "file" } else { "files" },
                indicatif::HumanBytes(bytes)
            ));
            *bar = Some(console.byte_bar(bytes));
        }
        HubProgress::Exporting => {
            *bar = None;
            console.note("exporting the checkpoint; the export is cached");
        }
        _ => {
            let Some(bar) = bar else { return };
            match progress {
                HubProgress::Waiting { file } => bar.message(format!("another process fetches {file}")),
                HubProgress::Started { file, present, .. } => {
                    bar.message(file);
                    bar.advance(present);
                }
                HubProgress::Received { bytes, .. } => bar.advance(bytes),
                _ => {}
            }
        }
    }
}
