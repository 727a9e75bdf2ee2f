//! Options of fetching models, and the display of progress.

use std::sync::Mutex;

use florence2::HubOptions;
use florence2::hub::HubProgress;

use crate::args::GlobalArgs;
use crate::console::{Console, Progress};

/// Returns the options of fetching models. The console shows the progress.
pub fn options(globals: &GlobalArgs, console: &Console) -> HubOptions {
    let console = console.clone();
    let shown: Mutex<Option<Progress>> = Mutex::new(None);
    let options = HubOptions::default().with_progress(move |progress| {
        let mut bar = shown.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        show(progress, &mut bar, &console);
    });
    if globals.offline {
        options.with_offline(true)
    } else {
        options
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
