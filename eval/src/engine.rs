//! Starting ONNX Runtime and loading the model.

use std::num::NonZeroUsize;
use std::path::Path;

use florence2::runtime::{self, Progress, RuntimeOptions, SessionOptions};
use florence2::{Florence2, LoadOptions};

use crate::error::Result;

/// Loads the model in a folder; `demo` is the engine's own. ONNX Runtime is fetched where the machine has none.
pub fn load(model: &Path, threads: Option<NonZeroUsize>) -> Result<Florence2> {
    let runtime = RuntimeOptions::default();
    runtime::init_or_fetch(&runtime, &|progress| {
        if let Progress::Downloading { package, version, .. } = progress {
            eprintln!("fetching ONNX Runtime ({package} {version}), just this once");
        }
    })?;
    let mut session = SessionOptions::default();
    session.intra_threads = threads.map(usize::from);
    let options = LoadOptions::default().with_runtime(runtime).with_session(session);
    Ok(match model == Path::new(florence2::demo::NAME) {
        true => Florence2::demo(options)?,
        false => Florence2::from_pretrained(model, options)?,
    })
}
